-- Made after the rows: so each is sorted once.
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE INDEX ix_subscriptions_user_id ON subscriptions (user_id);
CREATE INDEX ix_payments_user_id ON payments (user_id);
CREATE INDEX ix_usage_logs_user_id_created_at ON usage_logs (user_id, created_at);
CREATE INDEX ix_usage_logs_kind_created_at ON usage_logs (kind, created_at);
CREATE INDEX ix_files_user_id ON files (user_id);
CREATE INDEX ix_jobs_status_created_at ON jobs (status, created_at);

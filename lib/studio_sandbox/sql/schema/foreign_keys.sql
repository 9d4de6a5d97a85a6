-- Made after the rows: so each is checked once, by a join.
ALTER TABLE subscriptions
    ADD FOREIGN KEY (user_id) REFERENCES users,
    ADD FOREIGN KEY (plan_id) REFERENCES plans;
ALTER TABLE payments
    ADD FOREIGN KEY (user_id) REFERENCES users,
    ADD FOREIGN KEY (plan_id) REFERENCES plans;
ALTER TABLE usage_logs ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE files ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE jobs
    ADD FOREIGN KEY (user_id) REFERENCES users,
    ADD FOREIGN KEY (result_file_id) REFERENCES files;

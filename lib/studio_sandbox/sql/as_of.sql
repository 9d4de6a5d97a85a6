-- Takes back what came after a moment: rows that were made since, and all that refers to them.
-- Foreign keys are not checked one by one: some have no index, and would take a minute.
SET session_replication_role = replica;
CREATE TEMPORARY TABLE younger AS
    SELECT id FROM users WHERE created_at > %(taken)s
    UNION ALL SELECT id FROM files WHERE created_at > %(taken)s;
DELETE FROM usage_logs WHERE created_at > %(taken)s OR user_id IN (SELECT id FROM younger);
DELETE FROM jobs WHERE created_at > %(taken)s OR user_id IN (SELECT id FROM younger);
DELETE FROM files WHERE created_at > %(taken)s OR user_id IN (SELECT id FROM younger);
DELETE FROM payments WHERE created_at > %(taken)s OR user_id IN (SELECT id FROM younger);
DELETE FROM subscriptions WHERE created_at > %(taken)s OR user_id IN (SELECT id FROM younger);
DELETE FROM users WHERE created_at > %(taken)s;
UPDATE jobs SET result_file_id = NULL WHERE result_file_id IN (SELECT id FROM younger);

-- Ninety days of work, all of it done; then what is being worked on, and what is waiting.
INSERT INTO jobs
    (id, user_id, kind, status, payload_json, result_file_id, created_at, updated_at)
SELECT pg_temp.seed_id('job/video/' || n), user_id, kind, status,
       jsonb_build_object(
           'attempts', CASE WHEN status = 'failed' THEN 3
                            WHEN pg_temp.die(dice, 4) > 0.97 THEN 2 ELSE 1 END,
           'user_id', user_id,
           'prompt', pg_temp.prompt(pg_temp.die(dice, 3)),
           'prompt_length', length(pg_temp.prompt(pg_temp.die(dice, 3))),
           'seconds', 4 + 4 * floor(pg_temp.die(dice, 5) * 4)
       ) || CASE WHEN status = 'failed' THEN '{"error": "provider timed out"}'::jsonb ELSE '{}' END,
       CASE WHEN status = 'completed' THEN pg_temp.seed_id('file/video/' || n) END,
       pg_temp.ago(age_s + took_s), pg_temp.ago(age_s)
FROM (
    SELECT n, dice,
           pg_temp.one_of(ARRAY['video_gen', 'video_gen', 'video_edit', 'video_finalize'],
                          pg_temp.die(dice, 0)) AS kind,
           CASE WHEN pg_temp.die(dice, 1) < 0.03 THEN 'failed' ELSE 'completed' END AS status,
           300 + 90 * 86400 * (n - 1 + pg_temp.die(dice, 2)) / 12000 AS age_s,
           40 + 560 * pg_temp.die(dice, 6) ^ 3 AS took_s
    FROM (SELECT n, pg_temp.dice('video', n) AS dice FROM generate_series(1, 12000) AS n) AS thrown
) AS drawn
JOIN customers ON k = n::bigint * 1327 % (SELECT count(*) FROM customers);

INSERT INTO jobs (id, user_id, kind, status, payload_json, created_at, updated_at)
SELECT pg_temp.seed_id('job/payment/' || external_id), user_id, 'payment_webhook',
       CASE WHEN left(md5(external_id), 2) = '00' THEN 'failed' ELSE 'completed' END,
       jsonb_build_object(
           'attempts', CASE WHEN left(md5(external_id), 2) = '00' THEN 3 ELSE 1 END,
           'user_id', user_id, 'provider', provider, 'payment_id', id,
           'external_id', external_id, 'event', 'payment.' || status),
       created_at, created_at + interval '1 minute'
FROM payments
WHERE status <> 'pending' AND created_at BETWEEN pg_temp.ago(270 * 86400) AND pg_temp.ago(120);

INSERT INTO jobs (id, kind, status, payload_json, created_at, updated_at)
SELECT pg_temp.seed_id('job/' || kind || '/' || day), kind,
       CASE WHEN day % 41 = 17 THEN 'failed' ELSE 'completed' END,
       jsonb_build_object('attempts', CASE WHEN day % 41 = 17 THEN 3 ELSE 1 END, 'user_id', NULL)
           || more,
       pg_temp.ago(day * 86400 + at_s), pg_temp.ago(day * 86400 + at_s - 180)
FROM generate_series(0, 89) AS day,
     (VALUES ('analytics_daily', 26100, '{"report": "usage"}'::jsonb),
             ('cleanup_files', 18900, '{"older_than_days": 90}')) AS daily (kind, at_s, more);

-- Taken up within the last twelve minutes: a healthy worker is done with each of them in ten more.
INSERT INTO jobs (id, user_id, kind, status, payload_json, created_at, updated_at)
SELECT pg_temp.seed_id('job/now/' || n), user_id, kind, status,
       jsonb_build_object(
           'attempts', CASE WHEN n % 9 = 0 THEN 2 ELSE 1 END, 'user_id', user_id,
           'prompt', pg_temp.prompt(pg_temp.die(dice, 3)),
           'prompt_length', length(pg_temp.prompt(pg_temp.die(dice, 3))), 'seconds', 8),
       pg_temp.ago(age_s + 45), pg_temp.ago(age_s)
FROM (
    SELECT n, dice,
           pg_temp.one_of(ARRAY['video_gen', 'video_gen', 'video_edit', 'video_finalize'],
                          pg_temp.die(dice, 0)) AS kind,
           CASE WHEN n <= 26 THEN 'processing' ELSE 'pending' END AS status,
           CASE WHEN n <= 26 THEN 60 + 660 * pg_temp.die(dice, 1)
                ELSE 30 * pg_temp.die(dice, 1) END AS age_s
    FROM (SELECT n, pg_temp.dice('now', n) AS dice FROM generate_series(1, 44) AS n) AS thrown
) AS drawn
JOIN customers ON k = n * 37 % (SELECT count(*) FROM customers);

-- Webhooks of the checkouts: some just arrived, the others are in a worker's hands.
INSERT INTO jobs (id, user_id, kind, status, payload_json, created_at, updated_at)
SELECT pg_temp.seed_id('job/payment/' || external_id), user_id, 'payment_webhook',
       CASE WHEN row_number() OVER newest <= 6 THEN 'pending' ELSE 'processing' END,
       jsonb_build_object(
           'attempts', 1, 'user_id', user_id, 'provider', provider, 'payment_id', id,
           'external_id', external_id, 'event', 'payment.pending'),
       created_at, created_at
FROM payments WHERE status = 'pending'
WINDOW newest AS (ORDER BY created_at DESC) ORDER BY created_at DESC LIMIT 9;

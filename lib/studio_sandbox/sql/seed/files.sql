-- A video for each job that made one, and images.
INSERT INTO files (id, user_id, kind, s3_key, bytes, created_at, meta_json)
SELECT result_file_id, user_id, 'video', 'users/' || user_id || '/' || result_file_id || '.mp4',
       2000000 + (payload_json ->> 'seconds')::int * 1100000 + payload_size * 1013, updated_at,
       jsonb_build_object('title', payload_json -> 'prompt', 'seconds', payload_json -> 'seconds',
                          'width', 1280, 'height', 720)
FROM (
    SELECT *, get_byte(uuid_send(id), 0) * 256 + get_byte(uuid_send(id), 1) AS payload_size
    FROM jobs WHERE result_file_id IS NOT NULL
) AS finished;

INSERT INTO files (id, user_id, kind, s3_key, bytes, created_at, meta_json)
SELECT id, user_id, 'image', 'users/' || user_id || '/' || id || '.png',
       floor(350000 + 2400000 * pg_temp.die(dice, 1) ^ 2), pg_temp.ago(age_s),
       jsonb_build_object('title', pg_temp.prompt(pg_temp.die(dice, 2)),
                          'width', 1024, 'height', 1024)
FROM (
    SELECT n, dice, pg_temp.seed_id('file/image/' || n) AS id,
           200 + 90 * 86400 * (n - 1 + pg_temp.die(dice, 0)) / 8000 AS age_s
    FROM (SELECT n, pg_temp.dice('image', n) AS dice FROM generate_series(1, 8000) AS n) AS thrown
) AS drawn
JOIN customers ON k = n::bigint * 769 % (SELECT count(*) FROM customers);

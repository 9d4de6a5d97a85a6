-- Tokens by session; each image and each generated video as its file was made.
INSERT INTO usage_logs (id, user_id, kind, amount, model, created_at, meta_json)
SELECT pg_temp.seed_id('usage/tokens/' || n), user_id, 'tokens',
       floor(180 + 20000 * pg_temp.die(dice, 1) ^ 2),
       pg_temp.one_of(ARRAY['gpt-4o-mini', 'gpt-4o-mini', 'gpt-4o-mini', 'gpt-4o',
                            'claude-3-5-haiku'], pg_temp.die(dice, 2)),
       pg_temp.used(90 + 90 * 86400 * (n - 1 + pg_temp.die(dice, 0)) / 36000),
       '{"route": "/gateway/v1/chat/complete"}'
FROM (SELECT n, pg_temp.dice('tokens', n) AS dice FROM generate_series(1, 36000) AS n) AS drawn
JOIN customers ON k = n::bigint * 1009 % (SELECT count(*) FROM customers);

INSERT INTO usage_logs (id, user_id, kind, amount, model, created_at, meta_json)
SELECT pg_temp.seed_id('usage/' || id), user_id,
       CASE kind WHEN 'image' THEN 'images' ELSE 'video' END, 1,
       CASE kind WHEN 'image' THEN 'gpt-image-1' ELSE 'veo-3' END,
       pg_temp.used(extract(epoch FROM pg_temp.anchor() - created_at)::float8),
       jsonb_build_object('file_id', id)
FROM files
WHERE kind = 'image'
   OR id IN (SELECT result_file_id FROM jobs WHERE kind = 'video_gen' AND status = 'completed');

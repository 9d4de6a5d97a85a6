-- 5,200 people who came over 400 days, more of them lately.
INSERT INTO users (id, email, phone, locale, created_at, is_active)
SELECT pg_temp.seed_id('user/' || n),
       pg_temp.one_of(ARRAY['lina', 'omar', 'rania', 'yousef', 'dana', 'khaled', 'sara', 'tareq',
                            'nour', 'hamza', 'maya', 'faris', 'huda', 'zaid', 'reem', 'ahmad'],
                      pg_temp.die(dice, 0))
       || '.'
       || pg_temp.one_of(ARRAY['haddad', 'khalil', 'nasser', 'odeh', 'mansour', 'saleh', 'qasem',
                               'barakat', 'zoubi', 'hamdan', 'rashid', 'awad'],
                         pg_temp.die(dice, 1))
       || n || '@example.' || pg_temp.one_of(ARRAY['com', 'net', 'org'], pg_temp.die(dice, 2)),
       pg_temp.one_of(ARRAY['+96279', '+96278', '+96277', '+96650', '+97150', '+96477'],
                      pg_temp.die(dice, 3))
       || lpad(floor(pg_temp.die(dice, 4) * 10000000)::text, 7, '0'),
       CASE WHEN pg_temp.die(dice, 5) < 0.83 THEN 'ar' ELSE 'en' END,
       pg_temp.ago(900 + 400 * 86400 * pg_temp.die(dice, 6) ^ 1.3),
       pg_temp.die(dice, 7) >= 0.02
FROM (SELECT n, pg_temp.dice('user', n) AS dice FROM generate_series(1, 5200) AS n) AS drawn;

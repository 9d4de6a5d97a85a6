-- Three in five users subscribed at some time; a period has 30 days, paid at its start.
CREATE TEMPORARY TABLE deals ON COMMIT DROP AS
SELECT n, user_id, is_active,
       pg_temp.one_of(ARRAY['starter', 'starter', 'starter', 'starter', 'starter', 'starter',
                            'pro', 'pro', 'pro', 'creator'], pg_temp.die(dice, 1)) AS plan,
       pg_temp.one_of(ARRAY['hyperpay', 'hyperpay', 'hyperpay', 'paytabs', 'zaincash'],
                      pg_temp.die(dice, 2)) AS provider,
       pg_temp.die(dice, 3) AS fate,
       floor(3600 + (user_age_s - 3600) * pg_temp.die(dice, 4)) AS age_s
FROM (
    SELECT n, id AS user_id, is_active, pg_temp.dice('subscription', n) AS dice,
           least(extract(epoch FROM pg_temp.anchor() - created_at)::float8, 260 * 86400)
               AS user_age_s
    FROM generate_series(1, 5200) AS n
    JOIN users ON id = pg_temp.seed_id('user/' || n)
) AS drawn
WHERE pg_temp.die(dice, 0) < 0.62 AND user_age_s > 7200;

INSERT INTO subscriptions
    (id, user_id, plan_id, status, renews_at, provider, external_ref, created_at, updated_at)
SELECT pg_temp.seed_id('subscription/' || n), user_id, pg_temp.seed_id('plan/' || plan), status,
       pg_temp.ago(age_s) + periods * interval '30 days', provider,
       upper(left(provider, 2)) || '-SUB-' || lpad(n::text, 6, '0'),
       pg_temp.ago(age_s),
       pg_temp.ago(age_s)
           + CASE status WHEN 'active' THEN periods - 1 WHEN 'expired' THEN periods ELSE 0 END
           * interval '30 days'
FROM (
    SELECT *,
           CASE WHEN fate < 0.13 AND age_s > 30 * 86400 THEN 'expired'
                WHEN fate > 0.91 THEN 'cancelled' ELSE 'active' END AS status,
           CASE WHEN fate < 0.13 AND age_s > 30 * 86400 THEN floor(age_s / (30 * 86400))
                ELSE floor(age_s / (30 * 86400)) + 1 END AS periods
    FROM deals
) AS judged;

-- Who can use anything, numbered: what follows goes through them in turn, so that nobody is
-- ever over the limits of a plan.
CREATE TEMPORARY TABLE customers ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY n) - 1 AS k, user_id
FROM deals JOIN subscriptions USING (user_id)
WHERE status = 'active' AND is_active;
ALTER TABLE customers ADD PRIMARY KEY (k);

-- Checkouts of the last minutes, still with the payment provider.
CREATE TEMPORARY TABLE checkouts ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY n) AS m, n, users.id AS user_id
FROM generate_series(1, 5200) AS n JOIN users ON users.id = pg_temp.seed_id('user/' || n)
WHERE users.is_active AND NOT EXISTS (SELECT FROM deals WHERE deals.n = n.n)
ORDER BY n LIMIT 14;

INSERT INTO subscriptions
    (id, user_id, plan_id, status, provider, external_ref, created_at, updated_at)
SELECT pg_temp.seed_id('subscription/' || n), user_id, pg_temp.seed_id('plan/starter'), 'pending',
       'hyperpay', 'HY-SUB-' || lpad(n::text, 6, '0'),
       pg_temp.ago(20 + 70 * m), pg_temp.ago(20 + 70 * m)
FROM checkouts;

-- One completed payment for each paid period; one in 25 had failed before, minutes earlier.
INSERT INTO payments
    (id, user_id, plan_id, amount_jod, provider, status, external_id, created_at, meta_json)
SELECT pg_temp.seed_id('payment/' || external_ref || '/' || period), user_id, plan_id, price_jod,
       provider, 'completed',
       upper(left(provider, 2)) || '-' || left(md5(external_ref || '/' || period), 16),
       subscriptions.created_at + period * interval '30 days',
       jsonb_build_object('subscription_id', subscriptions.id, 'period', period + 1)
FROM subscriptions
JOIN plans ON plans.id = plan_id,
     generate_series(
         0, extract(epoch FROM renews_at - subscriptions.created_at)::int / (30 * 86400) - 1
     ) AS period
WHERE status <> 'pending';

INSERT INTO payments
    (id, user_id, plan_id, amount_jod, provider, status, external_id, created_at, meta_json)
SELECT pg_temp.seed_id('failed/' || external_id), user_id, plan_id, amount_jod, provider, 'failed',
       upper(left(provider, 2)) || '-' || left(md5('failed/' || external_id), 16),
       created_at - interval '4 minutes',
       meta_json || '{"result_code": "800.100.152", "reason": "declined by the card issuer"}'
FROM payments WHERE left(external_id, 4) IN ('HY-0', 'PA-0') AND external_id < 'PA-0a';

INSERT INTO payments
    (id, user_id, plan_id, amount_jod, provider, status, external_id, created_at, meta_json)
SELECT pg_temp.seed_id('payment/' || external_ref), user_id, plan_id, price_jod, provider,
       'pending', 'HY-' || left(md5(external_ref), 16), created_at,
       jsonb_build_object('subscription_id', subscriptions.id, 'period', 1)
FROM subscriptions JOIN plans ON plans.id = plan_id
WHERE status = 'pending';

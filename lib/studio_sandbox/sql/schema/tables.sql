-- The product's tables. All ids are UUID; timestamps have no time zone and hold UTC.
CREATE TABLE users (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email      varchar(320) NOT NULL,
    phone      varchar(20),
    locale     varchar(8) NOT NULL DEFAULT 'ar',
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    is_active  boolean NOT NULL DEFAULT true
);

CREATE TABLE plans (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          varchar(40) NOT NULL,
    price_jod     numeric(10, 2) NOT NULL,
    token_limit   integer NOT NULL,
    image_limit   integer NOT NULL,
    video_limit   integer NOT NULL,
    features_json jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE subscriptions (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL,
    plan_id      uuid NOT NULL,
    status       varchar(20) NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'active', 'cancelled', 'expired')),
    renews_at    timestamp,
    provider     varchar(20) NOT NULL CHECK (provider IN ('hyperpay', 'paytabs', 'zaincash')),
    external_ref varchar(80),
    created_at   timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at   timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE payments (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id     uuid NOT NULL,
    plan_id     uuid NOT NULL,
    amount_jod  numeric(10, 2) NOT NULL,
    provider    varchar(20) NOT NULL CHECK (provider IN ('hyperpay', 'paytabs', 'zaincash')),
    status      varchar(20) NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'completed', 'failed')),
    external_id varchar(80),
    created_at  timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    meta_json   jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE usage_logs (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL,
    kind       varchar(20) NOT NULL CHECK (kind IN ('tokens', 'images', 'video')),
    amount     integer NOT NULL,
    model      varchar(60),
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    meta_json  jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE files (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL,
    kind       varchar(20) NOT NULL,
    s3_key     varchar(512) NOT NULL,
    bytes      bigint NOT NULL,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    meta_json  jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE jobs (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id        uuid, -- none for the daily ones
    kind           varchar(30) NOT NULL
        CHECK (kind IN ('video_gen', 'video_edit', 'payment_webhook', 'video_finalize',
                        'analytics_daily', 'cleanup_files')),
    status         varchar(20) NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    payload_json   jsonb NOT NULL DEFAULT '{}',
    result_file_id uuid,
    created_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

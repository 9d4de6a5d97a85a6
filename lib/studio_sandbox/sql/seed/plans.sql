-- As alembic makes it; the release that runs knows two migrations more.
CREATE TABLE alembic_version (
    version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY
);
INSERT INTO alembic_version VALUES ('8f2c41d7a9be');

INSERT INTO plans (id, name, price_jod, token_limit, image_limit, video_limit, features_json)
VALUES
    (pg_temp.seed_id('plan/starter'), 'Starter', 3, 150000, 10, 2,
     '{"name_ar": "البداية", "support": "email", "watermark": true}'),
    (pg_temp.seed_id('plan/pro'), 'Pro', 5, 400000, 30, 5,
     '{"name_ar": "المحترف", "support": "email", "watermark": false}'),
    (pg_temp.seed_id('plan/creator'), 'Creator', 7, 1000000, 60, 10,
     '{"name_ar": "المبدع", "support": "priority", "watermark": false, "api": true}');

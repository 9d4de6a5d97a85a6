-- What all seeding stands on: the moment that is now, and chance that is the same every time.
CREATE FUNCTION pg_temp.anchor() RETURNS timestamp LANGUAGE sql IMMUTABLE AS $$
    SELECT %(anchor)s::timestamp
$$;

-- So long ago; a still sandbox knows whole minutes only.
CREATE FUNCTION pg_temp.ago(seconds float8) RETURNS timestamp LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.anchor()
         - floor(seconds / %(grain_s)s::float8) * %(grain_s)s::float8 * interval '1 second'
$$;

-- When something was used. In a still sandbox the last 15 days are stretched or squeezed into the
-- current month, so that the month's counters are the same on each of its days.
CREATE FUNCTION pg_temp.used(seconds float8) RETURNS timestamp LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN NOT %(still)s::boolean THEN pg_temp.ago(seconds)
        WHEN seconds < 15 * 86400
        THEN pg_temp.anchor()
           - seconds / (15 * 86400) * (pg_temp.anchor() - date_trunc('month', pg_temp.anchor()))
        ELSE date_trunc('month', pg_temp.anchor())
           - (seconds - 15 * 86400 + 1) * interval '1 second'
    END
$$;

CREATE FUNCTION pg_temp.seed_id(name text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT overlay(
        overlay(md5('pulse-studio/' || name) PLACING '4' FROM 13) PLACING 'a' FROM 17
    )::uuid
$$;

-- Ten dice for the nth of a noun, read by `die`: each from 0 up to, but not including, 1.
CREATE FUNCTION pg_temp.dice(noun text, n bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256((noun || '/' || n::text)::bytea)
$$;

CREATE FUNCTION pg_temp.die(dice bytea, which int) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
    SELECT (get_byte(dice, 3 * which) * 65536
          + get_byte(dice, 3 * which + 1) * 256
          + get_byte(dice, 3 * which + 2)) / 16777216.0::float8
$$;

CREATE FUNCTION pg_temp.one_of(choices text[], chance float8) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT choices[1 + floor(chance * cardinality(choices))::int]
$$;

CREATE FUNCTION pg_temp.prompt(chance float8) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.one_of(ARRAY[
        'مشهد لغروب الشمس في البتراء بأسلوب سينمائي',
        'إعلان قصير لمقهى في عمّان مع موسيقى هادئة',
        'رحلة في وادي رم من منظور طائرة مسيّرة',
        'تصميم شعار متحرك لمتجر تمور',
        'فيديو ترويجي لعيادة أسنان باللغة العربية',
        'لقطة بطيئة لقهوة عربية تُسكب في فنجان',
        'شرح مبسّط للأطفال عن دورة الماء',
        'A drone shot over the Dead Sea at dawn',
        'مقدمة لقناة طبخ شامية',
        'تهنئة بعيد الفطر مع خط عربي متحرك'
    ], chance)
$$;

select 42::int2 as i2, -7::int4 as i4, 9007199254740993::int8 as i8,
    12345678901234567890.1234567890::numeric as num, 'NaN'::numeric as nan, -0.00010::numeric(10,5) as small,
    1.5::float4 as f4, 0.1::float8 as f8, '-infinity'::float8 as inf, true as yes,
    'Grüße 🐘 日本'::text as txt, 'ab'::char(4) as ch, ''::varchar as empty, '\x00ff105c27'::bytea as bin,
    '{"a": [1, null, "ü"]}'::json as js, '{"b": {"c": 2.50}}'::jsonb as jsb,
    '{1,NULL,3}'::int[] as ints, '{{a,b},{"c d",NULL}}'::text[] as texts,
    '2024-02-29'::date as d, '13:14:15.123456'::time as t, '2024-02-29 13:14:15.123456'::timestamp as ts,
    '2024-02-29 13:14:15.123456+00'::timestamptz as tstz, '1 year 2 mons 3 days 04:05:06'::interval as iv,
    'c0ffee00-0000-4000-8000-000000000001'::uuid as id, null::text as nothing, null::int as no_int

-- @am@: filter columns
SET client_min_messages = warning;
SET jit = off;
@hnsw@SET recsys.hnsw_ef_search = 1000;

-- a vector that looks random and is the same everywhere
CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;
CREATE TYPE size AS ENUM ('small', 'medium', 'large');
CREATE DOMAIN grade AS int CHECK (VALUE >= 0);

CREATE TABLE items (id int PRIMARY KEY, v vector(16),
	b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, d date,
	ts timestamp, tz timestamptz, o oid, c "char",
	t text, vc varchar(20), ch char(4), u uuid, n numeric, e size, g grade,
	ia int[], ta text[]);
INSERT INTO items SELECT i, CASE WHEN i % 101 > 0 THEN pg_temp.noise(i, 16) END,
	CASE i % 7 WHEN 0 THEN NULL ELSE i % 3 = 0 END,
	nullif(i % 200 - 100, 50), i % 1000 - 500, (i % 100 - 50)::int8 * 10000000000,
	CASE i % 50 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' WHEN 2 THEN -0.0 WHEN 3 THEN 0.0 ELSE i % 20 - 10 END,
	(i % 64 - 32) / 8.0,
	CASE i % 90 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' ELSE '2000-01-01'::date + i % 400 - 200 END,
	'2000-01-01'::timestamp + (i % 300 - 150) * interval '1 hour',
	'2000-01-01 00:00+00'::timestamptz + (i % 300 - 150) * interval '1 hour',
	(4294967290 + i % 6 - (i % 20) * 200000000::int8)::oid, chr(i % 120 + 1)::"char",
	'word ' || i % 60, CASE WHEN i % 9 > 0 THEN 'name ' || i % 30 END, i % 40,
	lpad((i % 80)::text, 32, '0')::uuid, (i % 30) / 4.0,
	(ARRAY['small', 'medium', 'large'])[i % 3 + 1]::size, i % 12,
	CASE WHEN i % 11 > 0 THEN ARRAY(SELECT (i * k) % 50 FROM generate_series(1, i % 6) k) END,
	CASE i % 13 WHEN 0 THEN NULL WHEN 1 THEN ARRAY['a', NULL] ELSE ARRAY['tag ' || i % 9, 'tag ' || i % 17] END
	FROM generate_series(1, 3000) i;
-- 16 filter columns, and the rest
@hnsw@CREATE INDEX items_v ON items USING recsys_hnsw (v, b, i2, i4, i8, f4, f8, d, ts, tz, o, c, t, vc, ia, ta, e);
@hnsw@CREATE INDEX items_w ON items USING recsys_hnsw (v vector_l2_ops, ch, u, n, g);
@ivfpq@CREATE INDEX items_v ON items USING recsys_ivfpq (v, b, i2, i4, i8, f4, f8, d, ts, tz, o, c, t, vc, ia, ta, e)
@ivfpq@	WITH (lists = 20);
@ivfpq@CREATE INDEX items_w ON items USING recsys_ivfpq (v vector_l2_ops, ch, u, n, g) WITH (refine = none, lists = 20);
SELECT recsys.check_index(i) FROM unnest('{items_v,items_w}'::regclass[]) i;
ANALYZE items;

-- Is the condition one of the index, and are the rows those of a table scan, in
-- order?  (Rows that come late may be out of order, but none is missing.)
CREATE FUNCTION pg_temp.try(cond text, OUT plan text, OUT rows bigint, OUT same bool, OUT best bool)
LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT id, v <#> pg_temp.noise(-1, 16) AS d FROM items WHERE v IS NOT NULL AND (%s) ORDER BY v <#> pg_temp.noise(-1, 16)', cond);
	ids int[]; ids_true int[]; near float8[]; near_true float8[]; line text;
BEGIN
	IF cond ~ '^(ch|u|n|g) ' THEN query := replace(query, '<#>', '<->'); END IF;
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	plan := '';
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ '^ *(Index Cond|Filter):' THEN plan := plan || substring(line, '\w+') || ' '; END IF;
	END LOOP;
	EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (%s) s', query) INTO ids, near;
	RESET enable_seqscan;
	RESET enable_sort;
	SET LOCAL enable_indexscan = off;
	EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (%s) s', query) INTO ids_true, near_true;
	RESET enable_indexscan;
	rows := coalesce(cardinality(ids), 0);
	same := (SELECT array_agg(i ORDER BY i) FROM unnest(ids) i) IS NOT DISTINCT FROM
		(SELECT array_agg(i ORDER BY i) FROM unnest(ids_true) i);
	best := near[:10] IS NOT DISTINCT FROM near_true[:10];
END $$;

SELECT cond, t.* FROM unnest(ARRAY[
	'b', 'NOT b', 'b IS NULL', 'b IS NOT NULL', 'b IS NOT TRUE',
	'i2 = 7', 'i2 < -90', 'i2 >= 95::int8', 'i2 IS NULL', 'i2 = ANY (''{3,4,5,-7,NULL}'')', 'i2 > 40000', 'i2 < 40000',
	'i4 = -500', 'i4 > 490', 'i4 BETWEEN -3 AND 3', 'i4 < -499', 'i4 <= -2147483648', 'i4 > 2147483647::int8 - 1',
	'i4 = 7::int8', 'i4 = NULL', 'i4 = ANY (''{}'')', 'i4 < ANY (''{-480,-490}'')',
	'i4 = ANY (ARRAY(SELECT generate_series(-500, 500, 37)))', 'i4 IN (1, 2, 3, 3, 4)', 'i4 <> 0 AND i4 > 495',
	'i8 = 10000000000', 'i8 >= 480000000000', 'i8 = 0', 'i8 < 0::int2',
	'f4 = 0', 'f4 = ''NaN''', 'f4 > 9', 'f4 < -10', 'f4 <= ''-infinity''', 'f4 = 1::float8', 'f4 < ''NaN'' AND f4 > 8.5::float8',
	'f8 = -0.125', 'f8 > 3.7', 'f8 BETWEEN -0.2 AND 0.2', 'f8 >= 1.5::float4 AND f8 < 2',
	'd = ''2000-03-01''', 'd = ''infinity''', 'd < ''1999-06-20''', 'd >= ''2000-07-10''',
	'ts < ''1999-12-26''', 'ts >= ''2000-01-07 00:00''', 'tz < ''1999-12-26 00:00+00''', 'tz = ''2000-01-01 05:00+00''',
	'o = 4294967293', 'o > 4294967290', 'o < 900000000', 'c = ''A''', 'c > ''v''',
	't = ''word 7''', 't IN (''word 1'', ''word 2'', ''nothing'')', 't > ''word 7''', 
	'vc = ''name 3''', 'vc IS NULL', 'e = ''small''', 'e IN (''small'', ''large'') AND b',
	'ia && ''{7,8}''', 'ia @> ''{7}''', 'ia @> ''{5,10}''', 'ia && ''{}''', 'ia @> ''{}'' AND i4 > 400', 'ia @> ''{NULL}''', 'ia IS NULL',
	'ta && ''{"tag 3"}''', 'ta @> ''{"tag 3","tag 4"}''', 'ta && ''{a,NULL}''', 'ta && NULL',
	'ch = ''7''', 'ch = ''7  ''', 'u = ''00000000000000000000000000000007''', 'n = 1.50', 'n IN (0.25, 7)', 'g = 3', 'g < 2',
	'i4 >= -20 AND i4 < 60 AND i4 <= 40', 'i4 = ANY (''{-300,-20,-19,0,60,41}'') AND i4 >= -20 AND i4 < 60',
	'i4 >= -20 AND i4 < 60 AND f8 < 0', 'i4 > 400 AND i4 < 450 AND ts IS NOT NULL AND ia && ''{7,8}'' AND e = ''small''',
	'i4 IN (1, 2, 3, 7) AND i4 IN (2, 3, 4, 7, 9)', 'i4 > 5 AND i4 IS NOT NULL AND i4 < 9', 'i4 > 5 AND i4 < 5', 'i4 > 5 AND i4 = NULL',
	't IN (''word 1'', ''word 2'') AND t IN (''word 2'', ''word 3'')', 'ta && ''{"tag 3"}'' AND ta && ''{"tag 4"}''',
	'b AND i4 > 0 AND f8 < 0 AND t = ''word 7''']) WITH ORDINALITY u (cond, i),
	pg_temp.try(cond) t ORDER BY i;

-- a LIMIT is filled as long as there are rows
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*) FROM (SELECT id FROM items WHERE i4 = 3 ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 2) s;
-- conditions on a column that contradict each other are not looked for
SELECT count(*) FROM (SELECT id FROM items WHERE i4 > 5 AND i4 < 5 ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 2) s;
SELECT visited FROM recsys.last_scan();
-- by a parameter, and once for each outer row
PREPARE by_key(int, vector) AS SELECT id FROM items WHERE i4 = $1 ORDER BY v <#> $2 LIMIT 3;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE by_key(7, pg_temp.noise(-1, 16));
EXECUTE by_key(7, pg_temp.noise(-1, 16));
EXECUTE by_key(NULL, pg_temp.noise(-1, 16));
SELECT k, id = (SELECT id FROM items WHERE i4 + 0 = k ORDER BY (v <#> pg_temp.noise(-1, 16)) + 0 LIMIT 1) AS right
FROM generate_series(1, 3) k, LATERAL
	(SELECT id FROM items WHERE i4 = k ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 1) s;
-- without ORDER BY, and for rows without a vector, it is of no use
CREATE FUNCTION pg_temp.scan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ 'Scan' THEN RETURN NEXT substring(line, '\w+ Scan.*'); END IF;
	END LOOP;
END $$;
SELECT pg_temp.scan_of('SELECT id FROM items WHERE i4 = 7');
SELECT pg_temp.scan_of('SELECT id FROM items WHERE v IS NULL AND i4 = 7 ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 3');
SELECT pg_temp.scan_of('SELECT id FROM items WHERE v IS NOT NULL AND i4 = 7 ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 3');
RESET enable_seqscan;
RESET enable_sort;

-- changes: a row that gets another key has another entry, no old key counts
UPDATE items SET i4 = 5000, t = 'new', ta = '{new}', b = NULL WHERE id BETWEEN 100 AND 120;
DELETE FROM items WHERE id BETWEEN 1 AND 50;
INSERT INTO items (id, v, i4, ta) SELECT i, pg_temp.noise(i, 16), 6000, '{late}' FROM generate_series(4001, 4040) i;
SELECT cond, t.* FROM unnest(ARRAY['i4 = 5000', 'i4 = 6000', 't = ''new''', 'ta && ''{new}''', 'b IS NULL', 'i4 < -450', 'i2 IS NULL']) cond, pg_temp.try(cond) t;
SELECT recsys.check_index(i) FROM unnest('{items_v,items_w}'::regclass[]) i;
VACUUM items;
SELECT recsys.check_index(i) FROM unnest('{items_v,items_w}'::regclass[]) i;
SELECT cond, t.* FROM unnest(ARRAY['i4 = 5000', 'i4 = 6000', 't = ''new''', 'ta && ''{new}''', 'b IS NULL', 'i4 < -450', 'i2 IS NULL']) cond, pg_temp.try(cond) t;
REINDEX TABLE items;
SELECT recsys.check_index(i) FROM unnest('{items_v,items_w}'::regclass[]) i;
SELECT round(recsys.index_recall('items_v', 10)::numeric, 1);

-- what cannot be
CREATE INDEX ON items USING @am@ (i4);
CREATE INDEX ON items USING @am@ (i4, v);
CREATE INDEX ON items USING @am@ (v, v);
CREATE INDEX ON items USING @am@ (v, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2, i2);
@hnsw@CREATE TABLE other (v vector(1000), j jsonb, i int, a xid[], b bool);
@ivfpq@CREATE TABLE other (v vector(4032), j jsonb, i int, a xid[], b bool);
CREATE INDEX ON other USING @am@ (v, j);
@ivfpq@CREATE INDEX ON other USING recsys_ivfpq (v, i, b) WITH (subquantizers = 448);
-- many dimensions and many filters
@hnsw@CREATE INDEX other_v ON other USING recsys_hnsw (v, i, i, i, i, i, i, i, i, b, b, b, b, b, b, b, b);
@ivfpq@CREATE INDEX other_v ON other USING recsys_ivfpq (v, i, i, i, i, i, i, i, i, b, b, b, b, b, b, b, b) WITH (refine = none);
@hnsw@INSERT INTO other SELECT pg_temp.noise(i, 1000), NULL, i, NULL, i % 2 = 0 FROM generate_series(1, 20) i;
@ivfpq@INSERT INTO other SELECT pg_temp.noise(i, 4032), NULL, i, NULL, i % 2 = 0 FROM generate_series(1, 20) i;
@ivfpq@SELECT subquantizers, rows FROM recsys.ivfpq_stats('other_v');
SELECT recsys.check_index('other_v');
SET enable_seqscan = off;
@hnsw@SELECT i FROM other WHERE i > 15 AND NOT b ORDER BY v <#> pg_temp.noise(17, 1000) LIMIT 1;
@ivfpq@SELECT i FROM other WHERE i > 15 AND NOT b ORDER BY v <#> pg_temp.noise(17, 4032) LIMIT 1;
@ivfpq@-- a last tape page that would be nearly empty is left out, with its slots
@ivfpq@CREATE TABLE pages (v vector(128), i int);
@ivfpq@INSERT INTO pages SELECT pg_temp.noise(i, 128), i FROM generate_series(1, 590) i;
@ivfpq@CREATE INDEX pages_v ON pages USING recsys_ivfpq (v, i, i, i, i, i, i, i, i) WITH (lists = 1);
@ivfpq@SELECT rows, list_pages, tape_pages FROM recsys.ivfpq_stats('pages_v');
@ivfpq@INSERT INTO pages SELECT pg_temp.noise(-i, 128), -i FROM generate_series(1, 30) i;
@ivfpq@DELETE FROM pages WHERE i % 3 = 0;
@ivfpq@VACUUM pages;
@ivfpq@SELECT recsys.check_index('pages_v');
@ivfpq@SELECT rows, list_pages, tape_pages FROM recsys.ivfpq_stats('pages_v');
@ivfpq@DROP TABLE pages;
DROP TABLE other, items;
DROP TYPE size;
DROP DOMAIN grade;

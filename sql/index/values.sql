-- @am@: NULL, zero, equal, huge and tiny vectors; dimensions
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

-- SQLSTATE, message and hint of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' / ', state, message, nullif(detail, ''),
					 nullif(hint, ''));
END $$;

-- The first column of a query as an array, by the index or without it.
CREATE FUNCTION pg_temp.fetch(query text, by_index bool) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
	line text; plan text := ''; result text[];
BEGIN
	PERFORM set_config('enable_indexscan', by_index::text, true);
	PERFORM set_config('enable_seqscan', (NOT by_index)::text, true);
	PERFORM set_config('enable_bitmapscan', 'off', true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	IF (plan ~ 'Order By:') <> by_index THEN
		RAISE 'unexpected plan: %', plan;
	END IF;
	EXECUTE 'SELECT array_agg(x::text) FROM (' || query || ') s (x)' INTO result;
	RETURN coalesce(result, '{}');
END $$;

-- Distances by the index equal those of a sequential scan, and no row comes
-- twice.  (The rows themselves may differ where distances are equal.)
CREATE FUNCTION pg_temp.agree(tab text, op text, q vector, k int, filter text DEFAULT 'true')
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT %%s FROM %1$s WHERE %5$s ORDER BY v %2$s %3$L LIMIT %4$s', tab, op, q, k, filter);
	distances text := format(query, format('v %s %L', op, q));
	ids text[];
BEGIN
	IF pg_temp.fetch(distances, true) <> pg_temp.fetch(distances, false) THEN
		RETURN format('index: %s, exact: %s', pg_temp.fetch(distances, true), pg_temp.fetch(distances, false));
	END IF;
	ids := pg_temp.fetch(format(query, 'id'), true);
	RETURN cardinality(ids) || ' rows, ' || (SELECT count(DISTINCT i) FROM unnest(ids) i) || ' distinct';
END $$;
CREATE FUNCTION pg_temp.index_all(tab text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE INDEX ON %s USING @am@ (v vector_ip_ops)', tab);
	EXECUTE format('CREATE INDEX ON %s USING @am@ (v vector_l2_ops)', tab);
	EXECUTE format('CREATE INDEX ON %s USING @am@ (v vector_cosine_ops)', tab);
END $$;

-- built at once, or row by row, or some of each
CREATE FUNCTION pg_temp.make(tab text, definition text, rows text, first_part text DEFAULT 'true')
	RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('DROP TABLE IF EXISTS %1$s_built, %1$s_grown, %1$s_mixed', tab);
	EXECUTE format('CREATE TABLE %s_built %s', tab, definition);
	EXECUTE format('CREATE TABLE %s_grown %s', tab, definition);
	EXECUTE format('CREATE TABLE %s_mixed %s', tab, definition);
	EXECUTE format('INSERT INTO %s_built %s', tab, rows);
	EXECUTE format('INSERT INTO %s_mixed SELECT * FROM (%s) r (id, v) WHERE id %% 2 = 0', tab, rows);
	PERFORM pg_temp.index_all(tab || '_built');
	PERFORM pg_temp.index_all(tab || '_grown');
	PERFORM pg_temp.index_all(tab || '_mixed');
	EXECUTE format('INSERT INTO %s_grown %s', tab, rows);
	EXECUTE format('INSERT INTO %s_mixed SELECT * FROM (%s) r (id, v) WHERE id %% 2 = 1', tab, rows);
END $$;
CREATE FUNCTION pg_temp.agree_all(tab text, q vector, k int, filter text DEFAULT 'true')
	RETURNS TABLE (kind text, op text, result text) LANGUAGE sql AS $$
	SELECT kind, op, pg_temp.agree(tab || '_' || kind, op, q, k, filter)
	FROM unnest('{built,grown,mixed}'::text[]) WITH ORDINALITY AS a (kind, i),
		unnest('{<#>,<->,<=>}'::text[]) op ORDER BY i, op $$;

-- NULL vectors are not in the index; they are no neighbours of anything
SELECT pg_temp.make('nulls', '(id int, v vector(3))',
	'SELECT i, CASE WHEN i % 3 > 0 THEN pg_temp.noise(i, 3) END FROM generate_series(1, 90) i');
SELECT * FROM pg_temp.agree_all('nulls', '[1,2,3]', 1000, 'v IS NOT NULL');
SELECT cardinality(pg_temp.fetch('SELECT id FROM nulls_built ORDER BY v <#> ''[1,2,3]'' LIMIT 90', true)) AS without_nulls;
SELECT pg_temp.make('nulls', '(id int, v vector(3))', 'SELECT i, NULL::vector FROM generate_series(1, 9) i');
SELECT * FROM pg_temp.agree_all('nulls', '[1,2,3]', 10, 'v IS NOT NULL');
-- an empty index
SELECT pg_temp.make('empty', '(id int, v vector(3))', 'SELECT 1, NULL::vector WHERE false');
SELECT * FROM pg_temp.agree_all('empty', '[1,2,3]', 10);

-- a query vector that is NULL: rows, in no order
SELECT pg_temp.make('small', '(id int, v vector(3))',
	'SELECT i, pg_temp.noise(i, 3) FROM generate_series(1, 60) i');
SELECT op, cardinality(pg_temp.fetch(format('SELECT id FROM small_built ORDER BY v %s (SELECT NULL::vector) LIMIT 7', op), true)),
	(SELECT count(DISTINCT i) FROM unnest(pg_temp.fetch(format('SELECT id FROM small_built ORDER BY v %s (SELECT NULL::vector) LIMIT 70', op), true)) i)
FROM unnest('{<#>,<->,<=>}'::text[]) op;
-- a query vector of other dimensions
SET enable_seqscan = off;
SELECT id FROM small_built ORDER BY v <#> '[1,2]' LIMIT 1;
SELECT id FROM small_built ORDER BY v <-> '[1,2,3,4]' LIMIT 1;
SELECT id FROM small_built ORDER BY v <=> '[1]' LIMIT 1;
SELECT id FROM small_built ORDER BY v <#> '[1,NaN,3]' LIMIT 1;
RESET enable_seqscan;

-- zero vectors in the table, as the query, and alone
SELECT pg_temp.make('zeros', '(id int, v vector(3))',
	'SELECT i, CASE WHEN i % 4 > 0 THEN pg_temp.noise(i, 3) ELSE ''[0,0,0]'' END FROM generate_series(1, 120) i');
SELECT * FROM pg_temp.agree_all('zeros', '[1,2,3]', 1000);
SELECT * FROM pg_temp.agree_all('zeros', '[1,2,3]', 95);
SELECT * FROM pg_temp.agree_all('zeros', '[0,0,0]', 1000);
SELECT * FROM pg_temp.agree_all('zeros', '[-0,0,0]', 12);
SELECT pg_temp.make('zeros', '(id int, v vector(3))', 'SELECT i, ''[0,0,0]''::vector FROM generate_series(1, 50) i');
SELECT * FROM pg_temp.agree_all('zeros', '[1,2,3]', 40);
SELECT * FROM pg_temp.agree_all('zeros', '[0,0,0]', 1000);
-- by cosine distance zero vectors come last, and are no answers to a query that
-- points away from all others
CREATE TABLE away AS SELECT i AS id, CASE WHEN i % 4 > 0 THEN
		pg_temp.noise(i, 32) + array_fill(0.5, ARRAY[32])::vector
		ELSE array_fill(0, ARRAY[32])::vector END AS v
	FROM generate_series(1, 4000) i;
CREATE INDEX ON away USING @am@ (v vector_cosine_ops);
-- The best rows that the index finds of 30 queries, and the most rows that one
-- fetches; a query has a vector of noise, at a distance from zero.
CREATE FUNCTION pg_temp.best(query text, shift real, OUT best bigint, OUT fetched bigint)
LANGUAGE plpgsql AS $$
DECLARE
	q text;
BEGIN
	best := 0;
	fetched := 0;
	FOR i IN 1..30 LOOP
		q := format(query, pg_temp.noise(-i, 32) + array_fill(shift, ARRAY[32])::vector);
		best := best + cardinality(ARRAY(SELECT unnest(pg_temp.fetch(q, false))
			INTERSECT SELECT unnest(pg_temp.fetch(q, true))));
		fetched := greatest(fetched, (SELECT rows FROM recsys.last_scan()));
	END LOOP;
END $$;
SELECT best > 240 AS best, fetched < 100 AS few_fetched
FROM pg_temp.best('SELECT id FROM away ORDER BY v <=> %L LIMIT 10', -0.5);
DROP TABLE away;
-- nor where a filter leaves as many of them as of others
CREATE TABLE halves AS SELECT i AS id, i % 20 AS k, CASE WHEN i % 2 > 0 OR i % 20 > 10 THEN
		pg_temp.noise(i, 32) ELSE array_fill(0, ARRAY[32])::vector END AS v
	FROM generate_series(1, 6000) i;
CREATE INDEX ON halves USING @am@ (v vector_cosine_ops, k);
SELECT best > 5900 AS best, fetched < 400 AS few_fetched
FROM pg_temp.best('SELECT id FROM halves WHERE k IN (1, 2, 4, 6, 8) ORDER BY v <=> %L LIMIT 200', 0);
DROP TABLE halves;
-- a zero vector comes first, then others
SELECT pg_temp.make('zeros', '(id int, v vector(3))',
	'SELECT i, CASE WHEN i > 2 THEN pg_temp.noise(i, 3) ELSE ''[0,0,0]'' END FROM generate_series(1, 50) i');
SELECT * FROM pg_temp.agree_all('zeros', '[1,2,3]', 1000);

-- many equal rows
SELECT pg_temp.make('equal', '(id int, v vector(8))', 'SELECT i, ''[1,2,3,4,5,6,7,8]''::vector FROM generate_series(1, 1000) i');
SELECT * FROM pg_temp.agree_all('equal', '[1,1,1,1,1,1,1,1]', 5000);
SELECT * FROM pg_temp.agree_all('equal', '[0,0,0,0,0,0,0,1]', 13);
SELECT pg_temp.make('equal', '(id int, v vector(8))',
	'SELECT i, CASE WHEN i % 2 = 0 THEN ''[1,2,3,4,5,6,7,8]''::vector ELSE pg_temp.noise(i, 8) END FROM generate_series(1, 2000) i');
SELECT * FROM pg_temp.agree_all('equal', '[1,2,3,4,5,6,7,8]', 1000);
SELECT count(*), bool_and(result = '2000 rows, 2000 distinct') FROM pg_temp.agree_all('equal', '[1,2,3,4,5,6,7,8]', 5000);
-- the same direction at many lengths
SELECT pg_temp.make('rays', '(id int, v vector(4))',
	'SELECT i, (SELECT array_agg(x * i) FROM unnest(pg_temp.noise(i % 7, 4)::real[]) x)::vector FROM generate_series(1, 210) i');
SELECT * FROM pg_temp.agree_all('rays', '[1,-1,1,1]', 200);

-- dimensions, from one to the limit
SELECT pg_temp.make('dim1', '(id int, v vector(1))', 'SELECT i, ARRAY[(i - 100) / 7.0::real]::vector FROM generate_series(1, 220) i');
SELECT * FROM pg_temp.agree_all('dim1', '[3.3]', 220);
SELECT * FROM pg_temp.agree_all('dim1', '[-2]', 15);
SELECT dim, count(*), bool_and(result = '8 rows, 8 distinct') AS good
@hnsw@FROM unnest('{2,63,64,65,127,128,129,700,1024,1536,2000,2496}'::int[]) dim,
@ivfpq@FROM unnest('{2,63,64,65,127,128,129,700,1024,1536,2000,2496,4032}'::int[]) dim,
	LATERAL pg_temp.make('dims', format('(id int, v vector(%s))', dim),
		format('SELECT i, pg_temp.noise(i, %s) FROM generate_series(1, 30) i', dim)) m,
	LATERAL pg_temp.agree_all('dims', pg_temp.noise(dim, dim), 8)
GROUP BY dim ORDER BY dim;
CREATE TABLE beyond (v vector);
CREATE INDEX beyond_v ON beyond USING @am@ (v);
@hnsw@SELECT pg_temp.error_of('INSERT INTO beyond VALUES (pg_temp.noise(1, 2497))');
@hnsw@INSERT INTO beyond VALUES (pg_temp.noise(1, 2496));
@ivfpq@SELECT pg_temp.error_of('INSERT INTO beyond VALUES (pg_temp.noise(1, 4033))');
@ivfpq@INSERT INTO beyond VALUES (pg_temp.noise(1, 4032));
DROP INDEX beyond_v;
TRUNCATE beyond;
INSERT INTO beyond VALUES (pg_temp.noise(1, 16000));
SELECT pg_temp.error_of('CREATE INDEX beyond_v ON beyond USING @am@ (v)');
@hnsw@CREATE TABLE beyond_typmod (v vector(3000));
@ivfpq@CREATE TABLE beyond_typmod (v vector(5000));
SELECT pg_temp.error_of('CREATE INDEX ON beyond_typmod USING @am@ (v)');
@hnsw@SELECT pg_temp.error_of('INSERT INTO beyond_typmod VALUES (pg_temp.noise(1, 3000))');
@ivfpq@SELECT pg_temp.error_of('INSERT INTO beyond_typmod VALUES (pg_temp.noise(1, 5000))');

-- mixed dimensions are refused, at a build and at an insert
CREATE TABLE mixed (id int, v vector);
INSERT INTO mixed VALUES (1, '[1,2,3]'), (2, '[4,5]');
SELECT pg_temp.error_of('CREATE INDEX mixed_v ON mixed USING @am@ (v)');
TRUNCATE mixed;
INSERT INTO mixed VALUES (1, '[1,2,3]');
CREATE INDEX mixed_v ON mixed USING @am@ (v);
SELECT pg_temp.error_of('INSERT INTO mixed VALUES (2, ''[1,2]'')');
SELECT pg_temp.error_of('INSERT INTO mixed VALUES (2, ''[1,2,3,4]'')');
SELECT pg_temp.error_of('UPDATE mixed SET v = ''[1]''');
INSERT INTO mixed VALUES (2, '[3,2,1]');
SELECT pg_temp.fetch('SELECT id FROM mixed ORDER BY v <#> ''[1,0,0]'' LIMIT 5', true);
-- a part of the rows that has the same dimensions
DROP INDEX mixed_v;
INSERT INTO mixed SELECT 10 + i, pg_temp.noise(i, 5) FROM generate_series(1, 20) i;
CREATE INDEX ON mixed USING @am@ ((v::vector(5)) vector_l2_ops) WHERE vector_dims(v) = 5;
CREATE INDEX ON mixed USING @am@ ((v::vector(3))) WHERE vector_dims(v) = 3;
INSERT INTO mixed SELECT 30 + i, pg_temp.noise(i, 5) FROM generate_series(21, 40) i;
SELECT pg_temp.fetch('SELECT id FROM mixed WHERE vector_dims(v) = 3 ORDER BY v::vector(3) <#> ''[1,0,0]'' LIMIT 5', true);
SELECT pg_temp.fetch('SELECT id FROM mixed WHERE vector_dims(v) = 5 ORDER BY v::vector(5) <-> ''[1,0,0,1,1]'' LIMIT 50', true) =
	pg_temp.fetch('SELECT id FROM mixed WHERE vector_dims(v) = 5 ORDER BY v::vector(5) <-> ''[1,0,0,1,1]'' LIMIT 50', false) AS same_rows;

-- expressions, and parts of a table
CREATE TABLE raw (id int, a real[], live bool);
INSERT INTO raw SELECT i, pg_temp.noise(i, 4)::real[], i % 2 = 0 FROM generate_series(1, 100) i;
CREATE INDEX raw_expression ON raw USING @am@ ((a::vector(4)));
CREATE INDEX raw_unit ON raw USING @am@ (l2_normalize(a::vector(4)) vector_l2_ops);
CREATE INDEX raw_live ON raw USING @am@ ((a::vector(4)) vector_cosine_ops) WHERE live;
SELECT q, pg_temp.fetch(q, true) = pg_temp.fetch(q, false) AS same_rows FROM unnest(ARRAY[
	'SELECT id FROM raw ORDER BY a::vector(4) <#> ''[1,2,3,4]'' LIMIT 100',
	'SELECT id FROM raw ORDER BY l2_normalize(a::vector(4)) <-> ''[1,0,0,0]'' LIMIT 100',
	'SELECT id FROM raw WHERE live ORDER BY a::vector(4) <=> ''[1,2,3,4]'' LIMIT 100',
	'SELECT id FROM raw WHERE live AND id < 50 ORDER BY a::vector(4) <=> ''[1,2,3,4]'' LIMIT 100']) q;
UPDATE raw SET live = NOT live WHERE id <= 20;
SELECT q, pg_temp.fetch(q, true) = pg_temp.fetch(q, false) AS same_rows FROM unnest(ARRAY[
	'SELECT id FROM raw WHERE live ORDER BY a::vector(4) <=> ''[1,2,3,4]'' LIMIT 100']) q;

-- huge and tiny vectors, alone and beside others
SELECT e, kind, op, pg_temp.agree('scales_' || kind, op, pg_temp.noise(-1, 4), 60)
FROM unnest('{1e15,1e-15,1e-30,1e-44}'::text[]) e,
	LATERAL pg_temp.make('scales', '(id int, v vector(4))', format(
		'SELECT i, (SELECT array_agg(x * %s) FROM unnest(pg_temp.noise(i, 4)::real[]) x)::vector FROM generate_series(1, 60) i', e)) m,
	unnest('{built,grown}'::text[]) kind, unnest('{<#>,<->,<=>}'::text[]) op;
SELECT pg_temp.make('scales', '(id int, v vector(4))',
	'SELECT i, (SELECT array_agg(x * power(10.0, i % 5 - 2)) FROM unnest(pg_temp.noise(i, 4)::real[]) x)::vector FROM generate_series(1, 200) i');
SELECT q, agreed.* FROM unnest('{"[1,-1,1,1]","[1e15,-1e15,1e15,1e15]","[1e-15,-1e-15,1e-15,1e-15]"}'::text[]) q,
	LATERAL pg_temp.agree_all('scales', q::vector, 200) agreed;
-- over thirty decades the order is lost in rounding, but no row is
SELECT pg_temp.make('scales', '(id int, v vector(4))',
	'SELECT i, (SELECT array_agg(x * power(10.0, i % 31 - 15)) FROM unnest(pg_temp.noise(i, 4)::real[]) x)::vector FROM generate_series(1, 310) i');
SELECT kind, op, count(DISTINCT id), count(*) FROM unnest('{built,grown,mixed}'::text[]) kind, unnest('{<#>,<->,<=>}'::text[]) op,
	unnest(pg_temp.fetch(format('SELECT id FROM scales_%s ORDER BY v %s ''[1,-1,1,1]'' LIMIT 1000', kind, op), true)) id
GROUP BY kind, op ORDER BY kind, op;
-- a tiny query, whose products with tiny vectors float4 has no number for
SELECT pg_temp.make('scales', '(id int, v vector(4))',
	'SELECT i, ARRAY[1e-21 * i, 1e-24, 0, 0]::vector FROM generate_series(1, 60) i');
SELECT q, agreed.* FROM unnest('{"[1e-21,0,0,0]","[1e-24,-1e-24,0,0]"}'::text[]) q,
	LATERAL pg_temp.agree_all('scales', q::vector, 60) agreed;
-- rows of all scales behind a first one that is tiny
SELECT pg_temp.make('scales', '(id int, v vector(4))',
	'SELECT i, (SELECT array_agg(x * power(10::float8, i % 31 - 15)) FROM unnest(pg_temp.noise(i, 4)::real[]) x)::vector FROM generate_series(31, 340) i');
SELECT count(recsys.check_index(indexrelid)::text) FROM pg_index WHERE indrelid::regclass::text LIKE 'scales%';
SELECT pg_temp.error_of('INSERT INTO scales_grown VALUES (0, ''[3e38,3e38,3e38,3e38]'')');
SELECT pg_temp.error_of($$ INSERT INTO scales_built VALUES (0, '[3e38,3e38,3e38,3e38]');
	CREATE INDEX ON scales_built USING @am@ (v) $$);

DROP TABLE nulls_built, nulls_grown, nulls_mixed, empty_built, empty_grown, empty_mixed,
	small_built, small_grown, small_mixed, zeros_built, zeros_grown, zeros_mixed,
	equal_built, equal_grown, equal_mixed, rays_built, rays_grown, rays_mixed,
	dim1_built, dim1_grown, dim1_mixed, dims_built, dims_grown, dims_mixed,
	scales_built, scales_grown, scales_mixed, beyond, beyond_typmod, mixed, raw;

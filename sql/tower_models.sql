-- Models: names, versions, bundles, views, transactions, the cache.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir /test/tower/helpers.sql
\i :helpers
\set ECHO all

-- A model that answers n, whatever x is.
CREATE FUNCTION pg_temp.constant(n integer) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.model(pg_temp.spec('[{"name": "x", "type": "int", "default": 0}]',
		'[{"op": "zscore", "inputs": ["x"], "output": "z", "mean": 0, "std": 1e300},
		  {"op": "linear", "inputs": ["z"], "output": "y", "layout": "out_in", "tensors": {"weight": "w", "bias": "b"}}]'),
		jsonb_build_object('w', '{"shape": [1, 1], "x": [1]}'::jsonb, 'b', jsonb_build_object('shape', '[1]'::jsonb, 'x', jsonb_build_array(n))))
$$;
CREATE FUNCTION pg_temp.ask(model text) RETURNS vector LANGUAGE sql AS $$ SELECT recsys.embed(model, '{"x": 1}'::jsonb) $$;

-- names
SELECT recsys.import_model('', pg_temp.constant(1));
SELECT recsys.import_model('a/b', pg_temp.constant(1));
SELECT recsys.import_model('a@1', pg_temp.constant(1));
SELECT recsys.import_model(E'a\nb', pg_temp.constant(1));
SELECT recsys.import_model(repeat('a', 64), pg_temp.constant(1));
SELECT recsys.import_model(repeat('a', 63), pg_temp.constant(1));
SELECT pg_temp.ask(repeat('a', 63) || '@1');
SELECT recsys.import_model('Robert''); DROP TABLE recsys.model; --', pg_temp.constant(2));
SELECT pg_temp.ask('Robert''); DROP TABLE recsys.model; --');
SELECT recsys.import_model('été', pg_temp.constant(3));
SELECT pg_temp.ask('été@1');
SELECT recsys.drop_model(name) FROM (SELECT DISTINCT name FROM recsys.models) m;

-- references
SELECT recsys.import_model('m', pg_temp.constant(1));
SELECT m AS reference, pg_temp.ask(m) FROM unnest('{m,m@1,m@01}'::text[]) m;
SELECT pg_temp.ask('');
SELECT pg_temp.ask('m@');
SELECT pg_temp.ask('m@0');
SELECT pg_temp.ask('m@-1');
SELECT pg_temp.ask('m@2147483648');
SELECT pg_temp.ask('m@1/x');
SELECT pg_temp.ask('m/');
SELECT pg_temp.ask('m/x/y');
SELECT pg_temp.ask('/m');
SELECT pg_temp.ask('m@' || repeat('0', 1000) || '1');
SELECT pg_temp.ask('n');
SELECT pg_temp.ask('M');
SELECT pg_temp.ask('m@2');
SELECT pg_temp.ask('m/user');

-- versions
SELECT recsys.import_model('m', pg_temp.constant(2));
SELECT recsys.import_model('m', pg_temp.constant(3), activate => false);
SELECT version, active FROM recsys.models ORDER BY 1;
SELECT m AS reference, pg_temp.ask(m) FROM unnest('{m,m@1,m@2,m@3}'::text[]) m;
SELECT recsys.set_active('m', 3);
SELECT pg_temp.ask('m');
SELECT recsys.set_active('m', 4);
SELECT recsys.set_active('m', 0);
SELECT recsys.set_active('m@1', 1);
SELECT recsys.set_active('n', 1);
SELECT recsys.drop_model('m@3');
SELECT recsys.drop_model('m@2');
SELECT recsys.drop_model('m@2');
SELECT pg_temp.ask('m@2');
SELECT recsys.import_model('m', pg_temp.constant(4));
SELECT version, active FROM recsys.models ORDER BY 1;
SELECT recsys.import_model('staged', pg_temp.constant(1), false);
SELECT pg_temp.ask('staged@1');
SELECT pg_temp.ask('staged');
SELECT recsys.drop_model('staged');
SELECT recsys.drop_model('staged');

-- a cached plan sees what is active when it runs, and a statement one version
SET plan_cache_mode = force_generic_plan;
PREPARE ask AS SELECT recsys.embed('m', '{"x": 1}'::jsonb);
EXECUTE ask;
SELECT recsys.set_active('m', 1);
EXECUTE ask;
RESET plan_cache_mode;
DO $$
BEGIN
	FOR v IN 0..3 LOOP
		PERFORM recsys.set_active('m', CASE WHEN v % 2 = 0 THEN 3 ELSE 1 END);
		RAISE NOTICE '%', recsys.embed('m', '{"x": 1}'::jsonb);
	END LOOP;
END $$;
-- transactions
BEGIN;
SELECT recsys.import_model('m', pg_temp.constant(50));
SELECT pg_temp.ask('m'), pg_temp.ask('m@5');
SAVEPOINT s;
SELECT recsys.set_active('m', 3);
SELECT pg_temp.ask('m');
ROLLBACK TO s;
SELECT pg_temp.ask('m');
ROLLBACK;
SELECT pg_temp.ask('m');
-- the same version number with another file
SELECT recsys.import_model('m', pg_temp.constant(51), false);
SELECT pg_temp.ask('m@5');
BEGIN;
SELECT recsys.drop_model('m');
SELECT pg_temp.ask('m');
ROLLBACK;
SELECT pg_temp.ask('m');
-- a cursor keeps its snapshot
BEGIN;
DECLARE c CURSOR FOR SELECT g, recsys.embed('m', '{"x": 1}'::jsonb) FROM generate_series(1, 3) g;
FETCH c;
SELECT recsys.set_active('m', 3);
SELECT pg_temp.ask('m');
FETCH c;
SELECT pg_temp.ask('m');
FETCH c;
COMMIT;
BEGIN READ ONLY;
SELECT pg_temp.ask('m');
SELECT recsys.set_active('m', 1);
ROLLBACK;
BEGIN READ ONLY;
SELECT recsys.import_model('m', pg_temp.constant(1));
ROLLBACK;

-- a bundle: one file, two towers that share a tensor and have one version
CREATE FUNCTION pg_temp.bundle(n integer) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.model(replace('{"format": 1, "towers": {
		"user": {"features": [{"name": "liked", "type": "int[]"}], "ignore": ["id"], "output": "y", "nodes": [
			{"op": "identity", "inputs": ["liked"], "output": "i", "size": 2, "offset": 0, "oov_index": 0, "padding_index": null},
			{"op": "embedding_bag", "inputs": ["i"], "output": "y", "mode": "sum", "padding_index": null, "max_length": null, "tensors": {"table": "t"}}]},
		"item": {"features": [{"name": "id", "type": "int"}], "output": "y", "nodes": [
			{"op": "identity", "inputs": ["id"], "output": "i", "size": 2, "offset": 0, "oov_index": 0, "padding_index": null},
			{"op": "embedding", "inputs": ["i"], "output": "y", "tensors": {"table": "t"}}]}}}', '@', n::text)::jsonb,
		jsonb_build_object('t', jsonb_build_object('shape', '[2, 2]'::jsonb, 'x', jsonb_build_array(n, 1, n, 2))),
		'{"item": [{"features": {"id": 1}, "output": [10, 2]}]}')
$$;
SELECT recsys.import_model('b', pg_temp.bundle(10));
SELECT recsys.embed('b/user', '{"liked": [0, 1]}'::jsonb), recsys.embed('b/item', '{"id": 1}'::jsonb), recsys.embed('b/item@1', '{"id": 0}'::jsonb);
SELECT recsys.embed('b/user', u) FROM (SELECT 7 AS id, '{1}'::int[] AS liked) u;
SELECT recsys.embed('b', '{"id": 1}'::jsonb);
SELECT recsys.embed('b/shop', '{"id": 1}'::jsonb);
SELECT recsys.verify_model('b'), recsys.verify_model('b/item@1'), recsys.verify_model('b/user');
SELECT recsys.import_model('b', pg_temp.bundle(20));
SELECT recsys.set_active('b/user', 1);
SELECT recsys.drop_model('b/user');
SELECT version, active, towers FROM recsys.models WHERE name = 'b';
SELECT model, version, tower, output_dim, position, feature, type, dim, "default", null_elements FROM recsys.model_features WHERE version = 1;

-- the cache: more models than it may hold, and one larger than the limit
SELECT recsys.import_model('large', pg_temp.model(pg_temp.spec('[{"name": "x", "type": "int"}]', '[
	{"op": "identity", "inputs": ["x"], "output": "i", "size": 900000, "offset": 0, "oov_index": null, "padding_index": null},
	{"op": "one_hot", "inputs": ["i"], "output": "h", "size": 900000},
	{"op": "zscore", "inputs": ["x"], "output": "y", "mean": 0, "std": 1}]')));
SELECT recsys.import_model('m' || n, pg_temp.constant(n)) IS NOT NULL AS ok FROM generate_series(1, 30) n GROUP BY 1;
SET recsys.model_cache_size = '1MB';
CREATE FUNCTION pg_temp.cached() RETURNS TABLE (towers text) LANGUAGE sql AS $$
	SELECT CASE WHEN sum(total_bytes) > 1024 * 1024 THEN 'over 1 MB' ELSE 'at most 1 MB' END
	FROM pg_backend_memory_contexts WHERE name = 'recsys tower'
$$;
SELECT count(DISTINCT recsys.embed('m' || n, '{"x": 1}'::jsonb)) FROM generate_series(1, 30) n, generate_series(1, 3);
SELECT * FROM pg_temp.cached();
SELECT recsys.embed('large', '{"x": 5}'::jsonb), recsys.embed('large', '{"x": 6}'::jsonb);
SELECT * FROM pg_temp.cached();
SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'recsys tower';
SELECT pg_temp.ask('m1');
SELECT * FROM pg_temp.cached();
SELECT recsys.embed(m, '{"x": 5}'::jsonb) FROM unnest('{m1,large,m2,large,m1}'::text[]) m;
RESET recsys.model_cache_size;
SELECT count(recsys.drop_model(name)) FROM (SELECT DISTINCT name FROM recsys.models) m;
SELECT (SELECT count(*) FROM recsys.model) AS models, (SELECT count(*) FROM recsys.model_version) AS versions, (SELECT count(*) FROM recsys.model_part) AS parts;

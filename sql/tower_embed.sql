-- recsys.embed: binding, NULLs, types, and each op by hand.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir /test/tower/helpers.sql
\i :helpers
\set ECHO all

-- One op over one feature: imports the model e and embeds each value given.
CREATE FUNCTION pg_temp.run(feature jsonb, node jsonb, "values" jsonb, tensors jsonb DEFAULT '{}', more jsonb DEFAULT '[]')
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE v jsonb;
BEGIN
	BEGIN
		PERFORM recsys.import_model('e', pg_temp.model(pg_temp.spec(jsonb_build_array('{"name": "x"}'::jsonb || feature),
		jsonb_build_array('{"inputs": ["x"], "output": "y"}'::jsonb || node) || more, CASE WHEN more <> '[]' THEN '{"output": "z"}' ELSE '{}'::jsonb END), tensors));
	EXCEPTION WHEN OTHERS THEN
		RETURN NEXT SQLERRM;
	END;
	FOR v IN SELECT * FROM jsonb_array_elements("values") LOOP
		BEGIN
			RETURN NEXT left(v::text, 60) || ' -> ' || recsys.embed('e', jsonb_build_object('x', v))::text;
		EXCEPTION WHEN OTHERS THEN
			RETURN NEXT left(v::text, 60) || ' -> ' || SQLERRM;
		END;
	END LOOP;
END $$;

-- lookups, seen through a one_hot
CREATE FUNCTION pg_temp.look(feature jsonb, node jsonb, "values" jsonb) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT pg_temp.run(feature, node, "values", '{}', '[{"op": "one_hot", "inputs": ["y"], "output": "z", "size": 6}]')
$$;
SELECT pg_temp.look('{"type": "text", "default": "b"}', '{"op": "vocabulary", "values": ["a", "b", ""], "first_index": 2, "oov_index": 1, "padding_index": 0}',
	'["a", "b", "", "A", null, 1]');
SELECT pg_temp.look('{"type": "text"}', '{"op": "vocabulary", "values": ["a", "b"], "first_index": 0, "oov_index": null, "padding_index": null}',
	'["a", "é", null]');
SELECT pg_temp.look('{"type": "int"}', '{"op": "vocabulary", "values": [-7, 9223372036854775807], "first_index": 0, "oov_index": 4, "padding_index": null}',
	'[-7, 9223372036854775807, 7, 9223372036854775808, 1.0, "7", true]');
SELECT pg_temp.look('{"type": "int"}', '{"op": "identity", "size": 4, "offset": 1, "oov_index": 5, "padding_index": 0}',
	'[-1, 2, 3, -2, 9223372036854775807, -9223372036854775808]');
SELECT pg_temp.look('{"type": "int"}', '{"op": "identity", "size": 4, "offset": 0, "oov_index": null, "padding_index": 0}', '[3, 4]');
SELECT pg_temp.look('{"type": "bool"}', '{"op": "identity", "size": 2, "offset": 0, "oov_index": null, "padding_index": 0}', '[true, false, 1, null]');
-- the known hashes of 'hello': a430d84680aabd0b, 3 modulo 6; 248bfa47, 1 modulo 6
SELECT pg_temp.look('{"type": "text"}', '{"op": "hash", "function": "fnv1a_64", "buckets": 6, "first_index": 0, "padding_index": null}', '["hello", "", "é"]');
SELECT pg_temp.look('{"type": "text"}', '{"op": "hash", "function": "murmur3_32", "seed": 0, "buckets": 6, "first_index": 0, "padding_index": null}', '["hello", "", "abcd", "é"]');
SELECT pg_temp.look('{"type": "int"}', '{"op": "hash", "function": "murmur3_32", "seed": 4294967295, "buckets": 6, "first_index": 0, "padding_index": null}', '[12, -12]');
SELECT pg_temp.look('{"type": "float"}', '{"op": "bucketise", "boundaries": [-1, 0.5, 2], "side": "left"}', '[-2, -1, 0.5, 0.6, 2, 3]');
SELECT pg_temp.look('{"type": "int"}', '{"op": "bucketise", "boundaries": [-1, 0.5, 2], "side": "right"}', '[-2, -1, 1, 2, 3]');

-- tables: rows (1,10), (2,20), (3,30), (4,40)
CREATE FUNCTION pg_temp.bag(node jsonb, "values" jsonb, feature jsonb DEFAULT '{}') RETURNS SETOF text LANGUAGE sql AS $$
	SELECT pg_temp.run('{"type": "int[]"}'::jsonb || feature,
		'{"op": "identity", "size": 4, "offset": 0, "oov_index": 3, "padding_index": 0}', "values",
		'{"t": {"shape": [4, 2], "x": [1, 10, 2, 20, 3, 30, 4, 40]}}',
		jsonb_build_array('{"op": "embedding_bag", "inputs": ["y"], "output": "z", "tensors": {"table": "t"}}'::jsonb || node))
$$;
SELECT pg_temp.run('{"type": "int"}', '{"op": "identity", "size": 4, "offset": 0, "oov_index": 3, "padding_index": 0}', '[0, 2, 9]',
	'{"t": {"shape": [4, 2], "x": [1, 10, 2, 20, 3, 30, 4, 40]}}', '[{"op": "embedding", "inputs": ["y"], "output": "z", "tensors": {"table": "t"}}]');
SELECT pg_temp.bag('{"mode": "sum", "padding_index": null, "max_length": null}', '[[], [1], [1, 2, 3], [0, 0], [99, 1], [1, null], null, 1, [1.5], [[1]]]');
SELECT pg_temp.bag('{"mode": "mean", "padding_index": 0, "max_length": null}', '[[], [1], [1, 2, 3], [0, 0], [0, 3], [1, null, 3, null]]',
	'{"null_elements": "padding", "default": [2]}');
SELECT pg_temp.bag('{"mode": "sqrtn", "padding_index": null, "max_length": null}', '[[1, 1, 1, 1]]');
SELECT pg_temp.bag('{"mode": "sum", "padding_index": 0, "max_length": 2, "keep": "first"}', '[[1, 2, 3], [0, 0, 3], [1]]');
SELECT pg_temp.bag('{"mode": "sum", "padding_index": 0, "max_length": 2, "keep": "last"}', '[[1, 2, 3], [3, 0, 0], [1]]');
SELECT pg_temp.bag('{"mode": "sum", "padding_index": 0, "max_length": 2}', '[]');
-- weights
SELECT recsys.import_model('w', pg_temp.model(pg_temp.spec('[{"name": "i", "type": "int[]"}, {"name": "w", "type": "float[]", "null_elements": "zero"}]', '[
	{"op": "identity", "inputs": ["i"], "output": "ix", "size": 4, "offset": 0, "oov_index": 3, "padding_index": null},
	{"op": "embedding_bag", "inputs": ["ix", "w"], "output": "s", "mode": "sum", "padding_index": null, "max_length": null, "tensors": {"table": "t"}},
	{"op": "embedding_bag", "inputs": ["ix", "w"], "output": "m", "mode": "mean", "padding_index": 1, "max_length": 2, "keep": "last", "tensors": {"table": "t"}},
	{"op": "embedding_bag", "inputs": ["ix", "w"], "output": "q", "mode": "sqrtn", "padding_index": null, "max_length": null, "tensors": {"table": "t"}},
	{"op": "concat", "inputs": ["s", "m", "q"], "output": "y"}]'),
	'{"t": {"shape": [4, 1], "x": [1, 2, 3, 4]}}'));
SELECT recsys.embed('w', r) FROM (VALUES ('{0,2,3}'::int[], '{1,2,4}'::real[]), ('{0,1}', '{1,NULL}'), ('{2,1}', '{-1,1}'), ('{}', '{}')) r (i, w);
SELECT recsys.embed('w', r) FROM (VALUES ('{0,2,3}'::bigint[], '{t,f,t}'::bool[])) r (i, w);
SELECT recsys.embed('w', r) FROM (VALUES ('{0,2,3}'::int[], '{1,2}'::real[])) r (i, w);

-- numbers
SELECT pg_temp.run('{"type": "float"}', '{"op": "zscore", "mean": 2, "std": 4}', '[10, 2, -2e3]');
SELECT pg_temp.run('{"type": "int"}', '{"op": "min_max", "min": 10, "max": 20, "clip": false}', '[10, 15, 30, 0]');
SELECT pg_temp.run('{"type": "int"}', '{"op": "min_max", "min": 10, "max": 20, "clip": true}', '[10, 15, 30, 0]');
SELECT pg_temp.run('{"type": "float"}', '{"op": "log1p", "negative": "error"}', '[0, 1.718281828459045, -0.5]');
SELECT pg_temp.run('{"type": "float"}', '{"op": "log1p", "negative": "clamp"}', '[1.718281828459045, -5]');
SELECT pg_temp.run('{"type": "float"}', '{"op": "log1p", "negative": "signed"}', '[1.718281828459045, -1.718281828459045]');
SELECT pg_temp.run('{"type": "vector", "dim": 2}', '{"op": "zscore", "mean": 2, "tensors": {"std": "s"}}', '[[4, 10], [4], null, [1, null], [1, "2"]]',
	'{"s": {"shape": [2], "x": [2, 4]}}');
SELECT pg_temp.run('{"type": "vector", "dim": 2, "null_elements": "zero", "default": [7, 8]}', '{"op": "relu"}', '[null, [1, null]]');

-- layers; a scalar is a vector of one
CREATE FUNCTION pg_temp.layer(node jsonb, "values" jsonb, tensors jsonb DEFAULT '{}') RETURNS SETOF text LANGUAGE sql AS
	$$ SELECT pg_temp.run('{"type": "vector", "dim": 2}', node, "values", tensors) $$;
SELECT pg_temp.run('{"type": "float"}', '{"op": "relu"}', '[-3, 3]');
SELECT pg_temp.layer('{"op": "leaky_relu", "slope": 0.25}', '[[-4, 4]]');
SELECT pg_temp.layer('{"op": "sigmoid"}', '[[0, -200]]');
SELECT pg_temp.layer('{"op": "tanh"}', '[[0, 100]]');
SELECT pg_temp.layer('{"op": "silu"}', '[[0, 100]]');
SELECT pg_temp.layer('{"op": "gelu", "approximate": "none"}', '[[1, -1]]');
SELECT pg_temp.layer('{"op": "gelu", "approximate": "tanh"}', '[[1, -1]]');
SELECT pg_temp.layer('{"op": "linear", "layout": "out_in", "tensors": {"weight": "w", "bias": "b"}}', '[[1, 0], [0, 1]]',
	'{"w": {"shape": [3, 2], "x": [1, 2, 3, 4, 5, 6]}, "b": {"shape": [3], "x": [0.5, 0, 0]}}');
SELECT pg_temp.layer('{"op": "linear", "layout": "in_out", "tensors": {"weight": "w"}}', '[[1, 0], [0, 1]]',
	'{"w": {"shape": [2, 3], "x": [1, 2, 3, 4, 5, 6]}}');
SELECT pg_temp.layer('{"op": "layer_norm", "epsilon": 3}', '[[1, 3], [5, 5]]');
SELECT pg_temp.layer('{"op": "layer_norm", "epsilon": 0, "tensors": {"weight": "w", "bias": "b"}}', '[[1, 3], [5, 5]]',
	'{"w": {"shape": [2], "x": [2, 3]}, "b": {"shape": [2], "x": [10, 20]}}');
SELECT pg_temp.layer('{"op": "batch_norm", "epsilon": 1, "tensors": {"mean": "m", "variance": "v"}}', '[[1, 10]]',
	'{"m": {"shape": [2], "x": [1, 4]}, "v": {"shape": [2], "x": [0, 3]}}');
SELECT pg_temp.layer('{"op": "l2_normalise", "epsilon": 10, "clamp": "max_norm"}', '[[3, 4], [6, 8], [18, 24]]');
SELECT pg_temp.layer('{"op": "l2_normalise", "epsilon": 5, "clamp": "add_norm"}', '[[3, 4]]');
SELECT pg_temp.layer('{"op": "l2_normalise", "epsilon": 100, "clamp": "max_square"}', '[[3, 4], [18, 24]]');
SELECT pg_temp.layer('{"op": "l2_normalise", "epsilon": 75, "clamp": "add_square"}', '[[3, 4]]');
SELECT pg_temp.layer('{"op": "l2_normalise", "epsilon": 0, "clamp": "max_norm"}', '[[0, 0]]');
SELECT pg_temp.layer('{"op": "add", "inputs": ["x", "x", "x"]}', '[[1, 2]]');
SELECT pg_temp.layer('{"op": "multiply", "inputs": ["x", "x", "x"]}', '[[3, 2]]');
SELECT pg_temp.layer('{"op": "dcn_cross", "inputs": ["x", "x"], "form": "vector", "tensors": {"weight": "w", "bias": "b"}}', '[[1, 2]]',
	'{"w": {"shape": [2], "x": [10, 100]}, "b": {"shape": [2], "x": [1, 2]}}');
SELECT pg_temp.layer('{"op": "dcn_cross", "inputs": ["x", "x"], "form": "matrix", "layout": "out_in", "tensors": {"weight": "w", "bias": "b"}}', '[[1, 2]]',
	'{"w": {"shape": [2, 2], "x": [1, 0, 10, 0]}, "b": {"shape": [2], "x": [1, 2]}}');
-- an overflow is an error, also behind a relu
SELECT pg_temp.layer('{"op": "multiply", "inputs": ["x", "x"]}', '[[1e30, 1]]');
SELECT pg_temp.run('{"type": "vector", "dim": 1}', '{"op": "linear", "layout": "out_in", "tensors": {"weight": "w"}}', '[[3e38]]',
	'{"w": {"shape": [2, 1], "x": [3, -3]}, "o": {"shape": [1, 2], "x": [1, 1]}}',
	'[{"op": "linear", "inputs": ["y"], "output": "n", "layout": "out_in", "tensors": {"weight": "o"}}, {"op": "relu", "inputs": ["n"], "output": "z"}]');

-- binding of columns: all types of all features
SELECT recsys.import_model('all', pg_temp.model(pg_temp.spec('[
	{"name": "i", "type": "int", "default": 7}, {"name": "b", "type": "bool", "default": true}, {"name": "f", "type": "float", "default": -0.5},
	{"name": "t", "type": "text", "default": "b"}, {"name": "il", "type": "int[]", "default": [1, 2]}, {"name": "tl", "type": "text[]", "default": ["b"]},
	{"name": "fl", "type": "float[]", "default": [2, 3]}, {"name": "Mixed Name", "type": "vector", "dim": 2, "default": [8, 9]}]', '[
	{"op": "vocabulary", "inputs": ["t"], "output": "t_ix", "values": ["a", "b"], "first_index": 0, "oov_index": 2, "padding_index": null},
	{"op": "embedding", "inputs": ["t_ix"], "output": "te", "tensors": {"table": "e"}},
	{"op": "identity", "inputs": ["il"], "output": "il_ix", "size": 3, "offset": 0, "oov_index": 0, "padding_index": null},
	{"op": "embedding_bag", "inputs": ["il_ix", "fl"], "output": "ile", "mode": "sum", "padding_index": null, "max_length": null, "tensors": {"table": "e"}},
	{"op": "vocabulary", "inputs": ["tl"], "output": "tl_ix", "values": ["a", "b"], "first_index": 0, "oov_index": 2, "padding_index": null},
	{"op": "embedding_bag", "inputs": ["tl_ix"], "output": "tle", "mode": "sum", "padding_index": null, "max_length": null, "tensors": {"table": "e"}},
	{"op": "concat", "inputs": ["i", "b", "f", "te", "ile", "tle", "Mixed Name"], "output": "y"}]', '{"ignore": ["id", "noise"]}'),
	'{"e": {"shape": [3, 1], "x": [1, 10, 100]}}'));
CREATE TABLE users (noise point, id serial, i int2, gone int, b bool, f real, t varchar(5), il int8[], tl text[], fl float8[], "Mixed Name" vector);
ALTER TABLE users DROP COLUMN gone;
INSERT INTO users (i, b, f, t, il, tl, fl, "Mixed Name") VALUES (5, false, 1.25, 'a', '{0,1}', '{a,b,zz}', '{1,0.5}', '[3,4]');
INSERT INTO users DEFAULT VALUES;
SELECT id, recsys.embed('all', u) FROM users u ORDER BY id;
SELECT id, recsys.embed('all', to_jsonb(u) - 'Mixed Name' || '{"Mixed Name": [3, 4]}') FROM users u WHERE id = 1;
-- other types of the columns
ALTER TABLE users ALTER i TYPE bigint, ALTER f TYPE numeric, ALTER t TYPE char(5), ALTER il TYPE int2[], ALTER tl TYPE name[] USING tl::name[],
	ALTER fl TYPE numeric[], ALTER "Mixed Name" TYPE float8[] USING ("Mixed Name"::real[])::float8[];
SELECT id, recsys.embed('all', u) FROM users u ORDER BY id;
CREATE DOMAIN age AS integer CHECK (VALUE > 0);
ALTER TABLE users ALTER i TYPE age, ALTER f TYPE integer, ALTER t TYPE name, ALTER il TYPE int4[], ALTER tl TYPE char(3)[],
	ALTER fl TYPE real[], ALTER "Mixed Name" TYPE vector(2) USING "Mixed Name"::vector;
SELECT id, recsys.embed('all', u) FROM users u ORDER BY id;
-- a value too large for the row, out of line
UPDATE users SET il = array_fill(0, '{200000}'), fl = array_fill(1, '{200000}') WHERE id = 1;
SELECT id, recsys.embed('all', u) FROM users u WHERE id = 1;
-- arrays of another shape
SELECT recsys.embed('w', r) FROM (SELECT '{{1,2},{3,4}}'::int[] AS i, '{}'::real[] AS w) r;
SELECT recsys.embed('w', r) FROM (SELECT '[5:6]={0,2}'::int[] AS i, '{1,2}'::real[] AS w) r;
SELECT recsys.embed('w', r) FROM (SELECT '{1,NULL}'::int[] AS i, '{1,1}'::real[] AS w) r;
SELECT recsys.embed('w', r) FROM (SELECT '{1}'::int[] AS i, '{NaN}'::real[] AS w) r;
SELECT recsys.embed('w', r) FROM (SELECT '{1}'::int[] AS i, array_fill(true, '{67108864}') AS w) r;
-- names and types that do not fit
SELECT recsys.embed('all', ROW(1, 2));
SELECT recsys.embed('w', r) FROM (SELECT '{1}'::int[] AS i) r;
SELECT recsys.embed('w', r) FROM (SELECT '{1}'::int[] AS i, '{1}'::real[] AS w, 1 AS "W") r;
SELECT recsys.embed('w', r) FROM (SELECT '{1}'::int[] AS i, '{1}'::real[] AS w, '{1}'::real[] AS w) r;
SELECT recsys.embed('w', r) FROM (SELECT '{1}'::oid[] AS i, '{1}'::real[] AS w) r;
SELECT recsys.embed('w', r) FROM (SELECT 1 AS i, '{1}'::real[] AS w) r;
SELECT pg_temp.run('{"type": "float"}', '{"op": "relu"}', '[true, "1", [1], {}, 1e400]');
SELECT recsys.embed('e', r) FROM (VALUES ('NaN'::float8)) r (x);
SELECT recsys.embed('e', r) FROM (VALUES ('infinity'::real)) r (x);
SELECT recsys.embed('e', r) FROM (VALUES ('NaN'::numeric)) r (x);
SELECT recsys.embed('e', r) FROM (VALUES (1e400::numeric)) r (x);
SELECT recsys.embed('e', r) FROM (VALUES (true)) r (x);
SELECT recsys.embed('e', r) FROM (VALUES (NULL::float8)) r (x);
SELECT recsys.embed('e', '{}'::jsonb);
SELECT recsys.embed('e', '[]'::jsonb);
SELECT recsys.embed('e', '3'::jsonb);
SELECT recsys.embed('e', '{"x": 1, "y": 2}'::jsonb);
-- strict
SELECT recsys.embed(NULL, '{"x": 1}'::jsonb) IS NULL, recsys.embed('e', NULL::jsonb) IS NULL, recsys.embed('e', NULL::users) IS NULL;
-- one call site, rows of several types and models
SELECT recsys.embed(m, CASE WHEN x THEN '{"x": 1}'::jsonb ELSE '{"i": [0], "w": [1]}' END) FROM (VALUES ('e', true), ('w', false), ('e', true)) v (m, x);
DO $$
DECLARE r record;
BEGIN
	FOR n IN 1..3 LOOP
		IF n = 2 THEN SELECT 2.5::real AS x INTO r; ELSE SELECT n AS x INTO r; END IF;
		RAISE NOTICE '%', recsys.embed('e', r);
	END LOOP;
END $$;

-- marked as it must be, and run once as an InitPlan
SELECT DISTINCT provolatile, proparallel, proisstrict, prosecdef FROM pg_proc WHERE proname = 'embed' AND pronamespace = 'recsys'::regnamespace;
CREATE TABLE items (id int, v vector(1));
INSERT INTO items SELECT i, ARRAY[i] FROM generate_series(1, 5) i;
CREATE SEQUENCE runs;
CREATE FUNCTION counted(x float8) RETURNS float8 LANGUAGE sql VOLATILE AS $$ SELECT x FROM nextval('runs') $$;
SELECT id FROM items ORDER BY v <#> (SELECT recsys.embed('e', r) FROM (SELECT counted(1) AS x OFFSET 0) r) LIMIT 2;
SELECT last_value, is_called FROM runs;
DROP TABLE items, users;
DROP FUNCTION counted;
DROP SEQUENCE runs;
DROP DOMAIN age;
SELECT recsys.drop_model(name) FROM (SELECT DISTINCT name FROM recsys.models) m;

-- Specs that recsys.import_model refuses, each fault by its name.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir /test/tower/helpers.sql
\i :helpers
\set ECHO all

-- The error of a spec as a whole.
CREATE FUNCTION pg_temp.try(spec jsonb) RETURNS integer LANGUAGE sql AS
	$$ SELECT recsys.import_model('s', pg_temp.model(spec)) $$;
-- The error of one node, after features of every type and a few tensors.
CREATE FUNCTION pg_temp.node(node jsonb) RETURNS integer LANGUAGE sql AS $$
	SELECT recsys.import_model('s', pg_temp.model(pg_temp.spec('[
		{"name": "i", "type": "int"}, {"name": "b", "type": "bool"}, {"name": "f", "type": "float"},
		{"name": "t", "type": "text"}, {"name": "il", "type": "int[]"}, {"name": "tl", "type": "text[]", "null_elements": "padding"},
		{"name": "fl", "type": "float[]"}, {"name": "v", "type": "vector", "dim": 2}, {"name": "w", "type": "vector", "dim": 3}]',
		jsonb_build_array(
			'{"op": "identity", "inputs": ["i"], "output": "ix", "size": 4, "offset": 0, "oov_index": 3, "padding_index": null}'::jsonb,
			'{"op": "identity", "inputs": ["il"], "output": "ixl", "size": 3, "offset": 0, "oov_index": 2, "padding_index": null}'::jsonb,
			'{"inputs": ["v"], "output": "y"}'::jsonb || node)),
		'{"m22": {"shape": [2, 2], "x": [1, 2, 3, 4]}, "m32": {"shape": [3, 2], "x": [1, 2, 3, 4, 5, 6]}, "v2": {"shape": [2], "x": [1, 0]}, "v3": {"shape": [3], "x": [1, 2, 3]}}'))
$$;

-- the document
SELECT recsys.import_model('s', pg_temp.file('{"__metadata__": {"recsys.spec": "{\"format\": 1, \"format\": 1}"}}'));
SELECT pg_temp.try('[]');
SELECT pg_temp.try('{}');
SELECT pg_temp.try('{"format": "1"}');
SELECT pg_temp.try('{"format": 2}');
SELECT pg_temp.try('{"format": 1, "tower": 1}');
SELECT pg_temp.try('{"format": 1}');
SELECT pg_temp.try('{"format": 1, "towers": {}}');
SELECT pg_temp.try('{"format": 1, "towers": {"": 1}}');
SELECT pg_temp.try('{"format": 1, "towers": {"": {}, "b": {}}}');
SELECT pg_temp.try('{"format": 1, "towers": {"a/b": {}}}');
SELECT pg_temp.try('{"format": 1, "towers": {"a@1": {}}}');
SELECT pg_temp.try('{"format": 1, "towers": {"": {}}}');
SELECT pg_temp.try('{"format": 1, "towers": {"": {"features": []}}}');
SELECT pg_temp.try('{"format": 1, "towers": {"": {"features": [], "nodes": []}}}');
SELECT pg_temp.try(pg_temp.spec('[]', '[]', '{"more": 1}'));
SELECT pg_temp.try(pg_temp.spec('[]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "y", "type": "text"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "y", "type": "vector", "dim": 1}]', '[]', '{"tolerance": -1}'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "y", "type": "vector", "dim": 1}]', '[]', '{"ignore": "z"}'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "y", "type": "vector", "dim": 1}]', '[]', '{"ignore": ["y"]}'));

-- features
SELECT pg_temp.try(pg_temp.spec('[1]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "real"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int", "size": 3}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int"}, {"name": "x", "type": "int"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int", "dim": 3}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "vector"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "vector", "dim": 0}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "vector", "dim": 16001}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int", "null_elements": "padding"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int[]", "null_elements": "zero"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int", "default": null}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int", "default": 1.5}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "int", "default": true}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "text[]", "default": "a"}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "vector", "dim": 2, "default": [1]}]', '[]'));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x", "type": "float[]", "default": [1, null]}]', '[]'));

-- nodes
SELECT pg_temp.node('{}');
SELECT pg_temp.node('{"op": "attention"}');
SELECT pg_temp.node('{"op": "relu", "inputs": ["nowhere"]}');
SELECT pg_temp.node('{"op": "relu", "inputs": ["y"]}');
SELECT pg_temp.node('{"op": "relu", "inputs": [1]}');
SELECT pg_temp.node('{"op": "relu", "inputs": []}');
SELECT pg_temp.node('{"op": "relu", "inputs": ["v", "v"]}');
SELECT pg_temp.node('{"op": "relu", "output": "v"}');
SELECT pg_temp.node('{"op": "relu", "slope": 1}');
SELECT pg_temp.node('{"op": "relu", "tensors": {"weight": "v2"}}');
SELECT pg_temp.node('{"op": "relu", "tensors": []}');
SELECT pg_temp.node('{"op": "relu", "inputs": ["t"]}');
SELECT pg_temp.node('{"op": "relu", "inputs": ["fl"]}');
SELECT pg_temp.node('{"op": "relu", "inputs": ["ix"]}');
SELECT pg_temp.node('{"op": "leaky_relu"}');
SELECT pg_temp.node('{"op": "leaky_relu", "slope": "1"}');
SELECT pg_temp.node('{"op": "leaky_relu", "slope": 1e999}');
SELECT pg_temp.node('{"op": "gelu", "approximate": "erf"}');
-- lookups
SELECT pg_temp.node('{"op": "identity", "inputs": ["t"], "size": 4, "offset": 0, "oov_index": 3, "padding_index": 0}');
SELECT pg_temp.node('{"op": "identity", "inputs": ["i"], "size": 0, "offset": 0, "oov_index": 3, "padding_index": 0}');
SELECT pg_temp.node('{"op": "identity", "inputs": ["i"], "size": 3000000000, "offset": 0, "oov_index": 3, "padding_index": 0}');
SELECT pg_temp.node('{"op": "identity", "inputs": ["i"], "size": 4, "offset": 0, "oov_index": -3, "padding_index": 0}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["f"], "values": [1], "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["t"], "values": [1], "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["i"], "values": ["a"], "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["t"], "values": ["a", "b", "a"], "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["i"], "values": [1, 2, 2], "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["i"], "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["i"], "values": [1], "tensors": {"values": "v2"}, "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["i"], "tensors": {"values": "v2"}, "first_index": 0, "oov_index": null, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["tl"], "values": ["a"], "first_index": 0, "oov_index": 2147483646, "padding_index": null}');
SELECT pg_temp.node('{"op": "vocabulary", "inputs": ["t"], "values": ["a", "b"], "first_index": 2147483646, "oov_index": 0, "padding_index": 0}');
SELECT pg_temp.node('{"op": "hash", "inputs": ["t"], "function": "md5", "buckets": 3, "first_index": 0, "padding_index": 0}');
SELECT pg_temp.node('{"op": "hash", "inputs": ["t"], "function": "murmur3_32", "buckets": 3, "first_index": 0, "padding_index": 0}');
SELECT pg_temp.node('{"op": "hash", "inputs": ["t"], "function": "fnv1a_64", "seed": 1, "buckets": 3, "first_index": 0, "padding_index": 0}');
SELECT pg_temp.node('{"op": "hash", "inputs": ["t"], "function": "fnv1a_64", "buckets": 0, "first_index": 0, "padding_index": 0}');
SELECT pg_temp.node('{"op": "bucketise", "inputs": ["f"], "boundaries": [1, 1], "side": "left"}');
SELECT pg_temp.node('{"op": "bucketise", "inputs": ["f"], "boundaries": [], "side": "left"}');
SELECT pg_temp.node('{"op": "bucketise", "inputs": ["f"], "boundaries": [1]}');
SELECT pg_temp.node('{"op": "bucketise", "inputs": ["fl"], "boundaries": [1], "side": "left"}');
-- tables
SELECT pg_temp.node('{"op": "embedding", "inputs": ["ix"]}');
SELECT pg_temp.node('{"op": "embedding", "inputs": ["ix"], "tensors": {"table": "none"}}');
SELECT pg_temp.node('{"op": "embedding", "inputs": ["ix"], "tensors": {"table": 1}}');
SELECT pg_temp.node('{"op": "embedding", "inputs": ["ix"], "tensors": {"table": "v3"}}');
SELECT pg_temp.node('{"op": "embedding", "inputs": ["ix"], "tensors": {"table": "m32"}}');
SELECT pg_temp.node('{"op": "embedding", "inputs": ["i"], "tensors": {"table": "m32"}}');
SELECT pg_temp.node('{"op": "embedding", "inputs": ["ixl"], "tensors": {"table": "m32"}}');
SELECT pg_temp.node('{"op": "embedding_bag", "inputs": ["ix"], "mode": "sum", "padding_index": 0, "max_length": null, "tensors": {"table": "m32"}}');
SELECT pg_temp.node('{"op": "embedding_bag", "inputs": ["ixl"], "mode": "max", "padding_index": 0, "max_length": null, "tensors": {"table": "m32"}}');
SELECT pg_temp.node('{"op": "one_hot", "inputs": ["ix"], "size": 3}');
SELECT pg_temp.node('{"op": "one_hot", "inputs": ["ixl"], "size": 4}');
SELECT pg_temp.node('{"op": "one_hot", "inputs": ["ix"], "size": 1000001}');
SELECT pg_temp.node('{"op": "one_hot", "inputs": ["ix"], "size": 20000}');
-- numbers
SELECT pg_temp.node('{"op": "zscore", "mean": 0}');
SELECT pg_temp.node('{"op": "zscore", "mean": 0, "std": 1, "tensors": {"std": "v2"}}');
SELECT pg_temp.node('{"op": "zscore", "mean": 0, "std": 0}');
SELECT pg_temp.node('{"op": "zscore", "mean": 0, "tensors": {"std": "v2"}}');
SELECT pg_temp.node('{"op": "zscore", "mean": 0, "tensors": {"std": "v3"}}');
SELECT pg_temp.node('{"op": "zscore", "inputs": ["fl"], "mean": 0, "std": 1}');
SELECT pg_temp.node('{"op": "min_max", "min": 2, "max": 2, "clip": true}');
SELECT pg_temp.node('{"op": "min_max", "min": 2, "max": 3, "clip": 1}');
SELECT pg_temp.node('{"op": "log1p"}');
SELECT pg_temp.node('{"op": "log1p", "negative": "nan"}');
-- layers
SELECT pg_temp.node('{"op": "linear", "layout": "out_in"}');
SELECT pg_temp.node('{"op": "linear", "tensors": {"weight": "m22"}}');
SELECT pg_temp.node('{"op": "linear", "layout": "io", "tensors": {"weight": "m22"}}');
SELECT pg_temp.node('{"op": "linear", "layout": "in_out", "tensors": {"weight": "m32"}}');
SELECT pg_temp.node('{"op": "linear", "inputs": ["w"], "layout": "out_in", "tensors": {"weight": "m32"}}');
SELECT pg_temp.node('{"op": "linear", "layout": "out_in", "tensors": {"weight": "m22", "bias": "v3"}}');
SELECT pg_temp.node('{"op": "layer_norm"}');
SELECT pg_temp.node('{"op": "layer_norm", "epsilon": -1}');
SELECT pg_temp.node('{"op": "layer_norm", "epsilon": 0, "tensors": {"weight": "v3"}}');
SELECT pg_temp.node('{"op": "batch_norm", "epsilon": 0, "tensors": {"mean": "v2", "variance": "v2"}}');
SELECT pg_temp.node('{"op": "batch_norm", "epsilon": 0, "tensors": {"mean": "v2"}}');
SELECT pg_temp.node('{"op": "l2_normalise", "epsilon": 0, "clamp": "none"}');
SELECT pg_temp.node('{"op": "add", "inputs": ["v"]}');
SELECT pg_temp.node('{"op": "add", "inputs": ["v", "w"]}');
SELECT pg_temp.node('{"op": "multiply", "inputs": ["v", "f"]}');
SELECT pg_temp.node('{"op": "dcn_cross", "inputs": ["v", "v"], "form": "vector", "layout": "out_in", "tensors": {"weight": "v2"}}');
SELECT pg_temp.node('{"op": "dcn_cross", "inputs": ["v", "v"], "form": "vector", "tensors": {"weight": "v3"}}');
SELECT pg_temp.node('{"op": "dcn_cross", "inputs": ["v", "v"], "form": "matrix", "tensors": {"weight": "m22"}}');
SELECT pg_temp.node('{"op": "dcn_cross", "inputs": ["v", "v"], "form": "matrix", "layout": "out_in", "tensors": {"weight": "m32"}}');

-- width: concat of concats doubles until it is too wide
SELECT pg_temp.try(pg_temp.spec('[{"name": "x0", "type": "vector", "dim": 16000}]',
	(SELECT jsonb_agg(jsonb_build_object('op', 'concat', 'inputs', jsonb_build_array('x' || i, 'x' || i), 'output', 'x' || i + 1))
	 FROM generate_series(0, 40) i)));
SELECT pg_temp.try(pg_temp.spec('[{"name": "x0", "type": "vector", "dim": 16000}]',
	(SELECT jsonb_agg(jsonb_build_object('op', 'relu', 'inputs', '["x0"]'::jsonb, 'output', 'x' || i + 1))
	 FROM generate_series(0, 2000) i)));

-- golden rows
CREATE FUNCTION pg_temp.golden(golden jsonb, tolerance float8 DEFAULT 1e-4) RETURNS integer LANGUAGE sql AS $$
	SELECT recsys.import_model('s', pg_temp.model(pg_temp.spec('[{"name": "x", "type": "vector", "dim": 2}]',
		'[{"op": "linear", "inputs": ["x"], "output": "y", "layout": "out_in", "tensors": {"weight": "w"}}]',
		jsonb_build_object('tolerance', tolerance)), '{"w": {"shape": [2, 2], "x": [1, 2, 3, 4]}}', golden))
$$;
SELECT pg_temp.golden('[]');
SELECT pg_temp.golden('{"user": []}');
SELECT pg_temp.golden('{"": 1}');
SELECT pg_temp.golden('{"": [1]}');
SELECT pg_temp.golden('{"": [{"features": {"x": [1, 1]}}]}');
SELECT pg_temp.golden('{"": [{"features": {"x": [1, 1]}, "output": [3]}]}');
SELECT pg_temp.golden('{"": [{"features": {"x": [1, 1]}, "output": [3, null]}]}');
SELECT pg_temp.golden('{"": [{"features": {"z": 1}, "output": [3, 7]}]}');
-- the answer of the transposed weight
SELECT pg_temp.golden('{"": [{"features": {"x": [1, 1]}, "output": [3, 7]}, {"features": {"x": [1, 2]}, "output": [7, 10]}]}');
SELECT count(*) FROM recsys.models;
SELECT pg_temp.golden('{"": [{"features": {"x": [1, 1]}, "output": [3, 7]}, {"features": {"x": [1, 2]}, "output": [7, 10]}]}', 1);
SELECT recsys.verify_model('s');
SELECT pg_temp.golden('{"": [{"features": {"x": [1, 1]}, "output": [3, 7]}, {"features": {"x": [1, 2]}, "output": [5, 11]}]}');
SELECT recsys.verify_model('s'), recsys.verify_model('s@1');
SELECT pg_temp.golden('{"": []}');
SELECT recsys.verify_model('s') IS NULL AS none;
SELECT recsys.drop_model('s');

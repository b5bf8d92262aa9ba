-- Tower files as files: what recsys.import_model refuses of a safetensors file.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir /test/tower/helpers.sql
\i :helpers
\set ECHO all

-- A tower of one linear layer over a vector of two, for the good parts.
CREATE FUNCTION pg_temp.meta() RETURNS text LANGUAGE sql AS $$
	SELECT '"__metadata__": ' || json_build_object('recsys.spec', pg_temp.spec(
		'[{"name": "x", "type": "vector", "dim": 2}]',
		'[{"op": "linear", "inputs": ["x"], "output": "y", "layout": "out_in", "tensors": {"weight": "w"}}]')::text)
$$;
CREATE FUNCTION pg_temp.try(tensors text, data bytea) RETURNS integer LANGUAGE sql AS $$
	SELECT recsys.import_model('f', pg_temp.file('{' || pg_temp.meta() || tensors || '}', data))
$$;

-- good
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(2, 3));
SELECT recsys.embed('f', '{"x": [10, 1]}'::jsonb);
-- F16: 1.5, -2; smallest subnormal, largest
SELECT pg_temp.try(', "w": {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]}', '\x003e00c0');
SELECT recsys.embed('f', '{"x": [10, 1]}'::jsonb);
SELECT pg_temp.try(', "w": {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]}', '\x0100ff7b');
SELECT recsys.embed('f', '{"x": [1, 0]}'::jsonb), recsys.embed('f', '{"x": [0, 1]}'::jsonb);
-- BF16: 1.5, -2; F64: 0.25, 8
SELECT pg_temp.try(', "w": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}', '\xc03f00c0');
SELECT recsys.embed('f', '{"x": [10, 1]}'::jsonb);
SELECT pg_temp.try(', "w": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16]}',
	pg_temp.reverse(float8send(0.25)) || pg_temp.reverse(float8send(8)));
SELECT recsys.embed('f', '{"x": [10, 1]}'::jsonb);
SELECT name, version, active, towers, owner = current_user AS mine, grantees, bytes FROM recsys.models;

-- the frame
\set VERBOSITY terse
SELECT recsys.import_model('f', '');
SELECT recsys.import_model('f', '\x01020304050607');
SELECT recsys.import_model('f', '\xffffffffffffffff7b7d');
SELECT recsys.import_model('f', '\x01e1f50200000000');
SELECT recsys.import_model('f', '\x00e1f50200000000');
SELECT recsys.import_model('f', '\x03000000000000007b7d');
SELECT recsys.import_model('f', '\x00000000000000007b7d');
SELECT recsys.import_model('f', pg_temp.file('[]'));
SELECT recsys.import_model('f', pg_temp.file('{'));
SELECT recsys.import_model('f', pg_temp.file('{} {}'));
SELECT recsys.import_model('f', '\x03000000000000007b007d');
SELECT recsys.import_model('f', '\x040000000000000022ff227d');
SELECT recsys.import_model('f', pg_temp.file('{"a": "\u0000"}'));
SELECT recsys.import_model('f', pg_temp.file('{}'));
SELECT recsys.import_model('f', pg_temp.file('{"__metadata__": {}}'));
SELECT recsys.import_model('f', pg_temp.file('{"__metadata__": {"recsys.spec": 1}}'));
SELECT recsys.import_model('f', pg_temp.file('{"__metadata__": 1}'));
SELECT recsys.import_model('f', pg_temp.file(repeat('[', 100000)));

SELECT recsys.import_model('f', pg_temp.file('[' || repeat('0,', 2000000) || '0]'));
\set VERBOSITY default

-- the tensors
SELECT pg_temp.try(', "w": 1', '');
SELECT pg_temp.try(', "w": {}', '');
SELECT pg_temp.try(', "w": {"dtype": 4}', '');
SELECT pg_temp.try(', "w": {"dtype": "U8"}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32"}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": 2}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [2]}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "x": 1}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [0, 2], "data_offsets": [0, 0]}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [-1, 2], "data_offsets": [0, 0]}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1.5, 2], "data_offsets": [0, 0]}', '');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 1, 1, 1, 1, 1, 1, 1, 1], "data_offsets": [0, 4]}', pg_temp.floats(1));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [4611686018427387904], "data_offsets": [0, 0]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [99999999999999999999], "data_offsets": [0, 0]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [8, 0]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [-8, 0]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 4]}', pg_temp.floats(1, 2));
SELECT pg_temp.try(', "w": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(1, 2));
-- cut, too long, with a hole, overlapping
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', '\x00');
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(1, 2, 3));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [4, 12]}', pg_temp.floats(1, 2, 3));
SELECT pg_temp.try(', "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [4, 12]}', pg_temp.floats(1, 2, 3));
SELECT pg_temp.try(', "a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(1, 2));
-- not finite; beyond float4
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(1, 'NaN'));
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats('-Infinity', 1));
SELECT pg_temp.try(', "w": {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]}', '\x007c0000');
SELECT pg_temp.try(', "w": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}', '\x0000c07f');
SELECT pg_temp.try(', "w": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16]}',
	pg_temp.reverse(float8send(1e39)) || pg_temp.reverse(float8send(8)));
-- integers as weights
SELECT pg_temp.try(', "w": {"dtype": "I64", "shape": [1, 2], "data_offsets": [0, 16]}', pg_temp.floats(1, 2, 3, 4));
SELECT pg_temp.try(', "w": {"dtype": "I32", "shape": [1, 2], "data_offsets": [0, 8]}', pg_temp.floats(1, 2));
-- an unused one
SELECT pg_temp.try(', "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, "v": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}', pg_temp.floats(1, 2, 3));

-- nothing of all that was kept
SELECT max(version) FROM recsys.models;
SELECT recsys.drop_model('f');
SELECT count(*) FROM recsys.model_part;

-- a file of several parts
CREATE FUNCTION pg_temp.large(n integer) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.file(json_build_object('__metadata__', json_build_object('recsys.spec', pg_temp.spec(
			'[{"name": "x", "type": "int"}]',
			json_build_array(json_build_object('op', 'identity', 'inputs', '["x"]'::json, 'output', 'i', 'size', n,
				'offset', 0, 'oov_index', null, 'padding_index', null),
				'{"op": "embedding", "inputs": ["i"], "output": "y", "tensors": {"table": "t"}}'::json)::jsonb)::text),
		't', json_build_object('dtype', 'F32', 'shape', json_build_array(n, 256), 'data_offsets', json_build_array(0, 1024 * n)))::text,
		string_agg(pg_temp.floats(i, -i) || decode(repeat('00', 1016), 'hex'), '' ORDER BY i)) FROM generate_series(0, n - 1) i
$$;
SELECT recsys.import_model('large', pg_temp.large(2100));
SELECT part, length(data) < 1048576 AS short FROM recsys.model_part ORDER BY part;
-- of which the rows of a table are read when they are asked for; a damaged store
-- says so then, and once it is mended the rows are there
BEGIN;
DELETE FROM recsys.model_part WHERE part = 1;
SELECT subvector(recsys.embed('large', '{"x": 0}'::jsonb), 1, 3);
SAVEPOINT s;
\set VERBOSITY terse
SELECT recsys.embed('large', '{"x": 1500}'::jsonb) IS NULL;
ROLLBACK TO s;
-- one that is not finite, behind import_model's back
INSERT INTO recsys.model_part SELECT file, 1, decode(repeat('ff', 1048576), 'hex') FROM recsys.model_part WHERE part = 0;
SELECT recsys.embed('large', '{"x": 1500}'::jsonb) IS NULL;
\set VERBOSITY default
ROLLBACK;
SELECT x, subvector(recsys.embed('large', r), 1, 3) FROM (VALUES (0), (1022), (1023), (1024), (1500), (2099)) r (x);
SELECT recsys.embed('large', '{"x": 2100}'::jsonb);
SELECT recsys.drop_model('large');

-- recsys.embed_batch: the answers of embed, for the rows of a window.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir /test/tower/helpers.sql
\i :helpers
\set ECHO all

-- lookups of a text and of a list, numbers, and two layers
SELECT recsys.import_model('b', pg_temp.model(pg_temp.spec('[{"name": "word", "type": "text", "default": "a"},
	{"name": "tags", "type": "int[]", "default": [], "null_elements": "padding"}, {"name": "x", "type": "float"}]', '[
	{"op": "vocabulary", "inputs": ["word"], "output": "i", "values": ["a", "b", "c"], "first_index": 0, "oov_index": null, "padding_index": null},
	{"op": "embedding", "inputs": ["i"], "output": "word_x", "tensors": {"table": "t"}},
	{"op": "identity", "inputs": ["tags"], "output": "j", "size": 3, "offset": 0, "oov_index": 0, "padding_index": 1},
	{"op": "embedding_bag", "inputs": ["j"], "output": "tags_x", "mode": "mean", "padding_index": null, "max_length": null, "tensors": {"table": "t"}},
	{"op": "log1p", "inputs": ["x"], "output": "log_x", "negative": "error"},
	{"op": "concat", "inputs": ["word_x", "tags_x", "log_x"], "output": "all"},
	{"op": "linear", "inputs": ["all"], "output": "hidden", "layout": "out_in", "tensors": {"weight": "w"}},
	{"op": "relu", "inputs": ["hidden"], "output": "h"},
	{"op": "linear", "inputs": ["h"], "output": "y", "layout": "out_in", "tensors": {"weight": "v", "bias": "bias"}}]',
	'{"ignore": ["id", "batch"]}'),
	'{"t": {"shape": [3, 2], "x": [1, -1, 0.5, 3, -2, 0.25]}, "w": {"shape": [3, 5], "x": [1, 2, -1, 0.5, 3, -1, 1, 1, 2, 0.25, 0.5, 0.5, 1, -3, 1]},
	"v": {"shape": [2, 3], "x": [1, -2, 0.5, 3, 1, 1]}, "bias": {"shape": [2], "x": [0.125, -7]}}'));
-- another one, of the same features
SELECT recsys.import_model('flat', pg_temp.model(pg_temp.spec('[{"name": "word", "type": "text", "default": ""},
	{"name": "tags", "type": "int[]", "default": [], "null_elements": "padding"}, {"name": "x", "type": "float"}]',
	'[{"op": "relu", "inputs": ["x"], "output": "y"}]', '{"ignore": ["id", "batch"]}')));

CREATE TABLE rows AS SELECT n AS id, CASE WHEN n % 7 > 0 THEN chr(97 + n % 3) END AS word,
	CASE WHEN n % 5 > 0 THEN array_append(array(SELECT n * i % 4 FROM generate_series(1, n % 6) i), CASE WHEN n % 2 = 0 THEN 1 END) END AS tags,
	n / 8.0::real AS x, NULL::vector(2) AS batch
FROM generate_series(1, 300) n;

-- the largest difference from what embed says of the same row
CREATE FUNCTION pg_temp.difference(query text) RETURNS TABLE (alike boolean, rows bigint, answers bigint) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT coalesce(max(one <-> batch), 0) < 1e-5 AND bool_and((one IS NULL) = (batch IS NULL)), count(*), count(batch) FROM (%s) q', query);
END $$;
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', r) AS one, recsys.embed_batch('b', r) OVER () AS batch FROM rows r$$);
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', to_jsonb(r)) AS one, recsys.embed_batch('b', to_jsonb(r)) OVER (ORDER BY id DESC) AS batch FROM rows r$$);
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', r) AS one, recsys.embed_batch('b', r) OVER (PARTITION BY id / 70 ORDER BY word) AS batch FROM rows r$$);
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', r) AS one, recsys.embed_batch('b', r) OVER (PARTITION BY id) AS batch FROM rows r$$);
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', s) AS one, recsys.embed_batch('b', s) OVER () AS batch FROM (SELECT word, tags, x FROM rows) s$$);
-- none, one, a batch, one more
SELECT n, d.* FROM unnest('{0,1,64,65}'::int[]) n,
	pg_temp.difference(format('SELECT recsys.embed(''b'', r) AS one, recsys.embed_batch(''b'', r) OVER () AS batch FROM rows r WHERE id <= %s', n)) d;
-- no row, or no model: no answer
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', r) AS one, recsys.embed_batch('b', r) OVER () AS batch
	FROM generate_series(1, 400) n LEFT JOIN rows r ON r.id = n AND n % 3 > 0$$);
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', r) AS one, recsys.embed_batch('b', r) OVER () AS batch
	FROM generate_series(1, 70) n LEFT JOIN rows r ON r.id = -n$$);
SELECT recsys.embed_batch(NULL, r) OVER () FROM rows r WHERE id < 3;
-- the model may differ from row to row
SELECT * FROM pg_temp.difference($$SELECT recsys.embed(m, r) AS one, recsys.embed_batch(m, r) OVER () AS batch
	FROM rows r, LATERAL (SELECT (array['b', 'b', 'b', 'b@1', 'b@1', NULL])[1 + id % 6]) s (m)$$);
SELECT * FROM pg_temp.difference($$SELECT subvector(recsys.embed(m, r), 1, 1) AS one, subvector(recsys.embed_batch(m, r) OVER (), 1, 1) AS batch
	FROM rows r, LATERAL (SELECT CASE WHEN id % 100 < 50 THEN 'b' ELSE 'flat' END) s (m)$$);
-- what does not fit work_mem, and a window that is read again
SET work_mem = '64kB';
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', r) AS one, recsys.embed_batch('b', r) OVER () AS batch
	FROM (SELECT word, array(SELECT i % 3 FROM generate_series(1, id * 20) i) AS tags, x FROM rows) r$$);
RESET work_mem;
SELECT n, count(e.v) FROM unnest('{1,2,100}'::int[]) n,
	LATERAL (SELECT recsys.embed_batch('b', r) OVER () v FROM rows r WHERE r.id > n LIMIT 80 OFFSET 0) e GROUP BY n ORDER BY n;
-- an argument that itself runs a tower
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', s) AS one, recsys.embed_batch('b', s) OVER () AS batch
	FROM (SELECT word, tags, (recsys.embed('flat', r)::real[])[1] AS x FROM rows r OFFSET 0) s$$);

-- encoding a table
UPDATE rows SET batch = e.v FROM (SELECT id, recsys.embed_batch('b', r) OVER () AS v FROM rows r) e WHERE rows.id = e.id;
SELECT * FROM pg_temp.difference($$SELECT recsys.embed('b', r) AS one, batch FROM rows r$$);

-- errors name the row
SELECT recsys.embed_batch('b', r) OVER () FROM (SELECT word, tags, nullif(x, 100 / 8.0) AS x FROM rows ORDER BY id) r;
SELECT recsys.embed_batch('b', r) OVER () FROM (SELECT CASE id WHEN 130 THEN 'd' ELSE word END AS word, tags, x FROM rows ORDER BY id) r;
SELECT recsys.embed_batch('b', r) OVER (ORDER BY n) FROM generate_series(1, 300) n LEFT JOIN
	(SELECT id, word, tags, CASE id WHEN 131 THEN -x ELSE x END AS x FROM rows) r ON r.id = n AND n % 2 > 0;
SELECT recsys.embed_batch('flat', r) OVER () FROM (SELECT word, tags, CASE id WHEN 70 THEN 1e300 ELSE x END AS x FROM rows ORDER BY id) r;
-- others are of no row
SELECT recsys.embed_batch('none', r) OVER () FROM rows r;
SELECT recsys.embed_batch('b', r) OVER () FROM (SELECT word, tags, 'x' AS x FROM rows) r;
SELECT recsys.embed_batch('b', r) OVER () FROM (SELECT word, tags, x, 1 AS more FROM rows) r;
SELECT recsys.embed_batch('b', r) OVER () FROM (SELECT word, x FROM rows) r;
SELECT recsys.embed_batch('b', '[]'::jsonb) OVER ();
SELECT recsys.embed_batch('b', 1) OVER ();
-- it needs a window
SELECT recsys.embed_batch('b', r) FROM rows r;
CREATE OPERATOR pg_temp.## (leftarg = text, rightarg = jsonb, function = recsys.embed_batch);
SELECT 'b'::text OPERATOR(pg_temp.##) '{"x": 1}'::jsonb;

-- who may
CREATE ROLE recsys_batch_stranger;
GRANT SELECT ON rows TO recsys_batch_stranger;
SET ROLE recsys_batch_stranger;
SELECT recsys.embed_batch('b', r) OVER () FROM rows r;
RESET ROLE;
SELECT recsys.grant_model('b', 'recsys_batch_stranger');
SET ROLE recsys_batch_stranger;
SELECT count(v) FROM (SELECT recsys.embed_batch('b', r) OVER () AS v FROM rows r) e;
RESET ROLE;
DROP TABLE rows;
DROP ROLE recsys_batch_stranger;
SELECT recsys.drop_model('b');
SELECT recsys.drop_model('flat');

-- Arithmetic, parts, comparison, sort order
SET client_min_messages = warning;
-- SQLSTATE, message, detail and hint of what a statement raises
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

SELECT '[1,2,3]'::vector + '[4,5,6]' AS sum, '[1,2,3]'::vector - '[4,5,7]' AS difference,
	'[1,2,3]'::vector * '[4,5,-6]' AS product, '[1,2,3]'::vector || '[4,5]' AS both;
SELECT '[4,5,7]'::vector - '[1,2,3]' AS not_commutative;
SELECT NULL::vector + '[1]' AS n, '[1]'::vector - NULL AS n, NULL::vector * NULL AS n,
	'[1]'::vector || NULL AS n;
SELECT '[1e-45]'::vector + '[1e-45]', '[0]'::vector * '[1e-45]', '[3e-45]'::vector * '[0.5]';

SELECT s AS expression, pg_temp.error_of('SELECT ' || s) FROM (VALUES
	('''[1,2]''::vector + ''[3]'''), ('''[1]''::vector - ''[3,4]'''),
	('''[1,2]''::vector * ''[3,4,5]'''),
	('''[1,3e38]''::vector + ''[1,3e38]'''), ('''[-3e38]''::vector - ''[3e38]'''),
	('''[1e37]''::vector * ''[1e37]'''), ('''[-1e37]''::vector * ''[1e37]'''),
	('''[1e-37]''::vector * ''[1e-37]'''),
	('array_fill(1, ARRAY[16000])::vector || ''[1]''')) i(s);
SELECT vector_dims(array_fill(1, ARRAY[15999])::vector || '[1]');

-- parts
SELECT vector_dims('[1]'), vector_dims('[1,2,3]');
SELECT s, c, subvector('[1,2,3,4,5]', s, c) FROM (VALUES
	(1, 3), (1, 5), (5, 1), (3, 2), (-1, 3), (3, 9), (3, 2147483647),
	(-2147483644, 2147483647), (0, 2)) i(s, c);
SELECT s, c, pg_temp.error_of(format('SELECT subvector(''[1,2,3,4,5]'', %s, %s)', s, c))
FROM (VALUES (1, 0), (3, -1), (-1, 2), (6, 1), (2147483647, 10),
	(2147483647, 2147483647), (-2147483648, -2147483648), (1, -2147483648)) i(s, c);
SELECT l2_normalize('[3,4]'), l2_normalize('[0,0.1]'), l2_normalize('[0,0]'),
	l2_normalize('[3e38]'), l2_normalize('[-1e-45]'), l2_normalize('[3e38,0,4e37]');
SELECT vector_norm('[3,4]'), vector_norm('[0]'), vector_norm('[-2]'),
	vector_norm('[3e37,4e37]')::real, vector_norm('[3e-44,4e-44]')::real;
SELECT binary_quantize('[1,0,-1]'),
	binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'),
	length(binary_quantize(array_fill(1, ARRAY[16000])::vector));

-- every pair, every operator, against the definition
CREATE TEMP TABLE sample (place int, v vector);
INSERT INTO sample VALUES (1, '[-1]'), (2, '[-1,5]'), (3, '[0]'), (3, '[-0]'),
	(4, '[0,0]'), (4, '[0,-0]'), (5, '[0,1e-45]'), (6, '[1,2]'), (7, '[1,2,-3]'),
	(8, '[1,2,3]'), (9, '[2]'), (10, '[3.4028235e38]');
SELECT count(*) AS pairs,
	bool_and((a.v < b.v) = (a.place < b.place)) AS lt,
	bool_and((a.v <= b.v) = (a.place <= b.place)) AS le,
	bool_and((a.v = b.v) = (a.place = b.place)) AS eq,
	bool_and((a.v <> b.v) = (a.place <> b.place)) AS ne,
	bool_and((a.v >= b.v) = (a.place >= b.place)) AS ge,
	bool_and((a.v > b.v) = (a.place > b.place)) AS gt,
	bool_and(vector_cmp(a.v, b.v) = sign(a.place - b.place)) AS cmp
FROM sample a, sample b;
SELECT array_agg(place ORDER BY v DESC) FROM sample;
SELECT count(DISTINCT v) FROM sample;

-- the btree class: unique, lookup, order, merge join, validity
CREATE TEMP TABLE keyed (v vector PRIMARY KEY);
INSERT INTO keyed SELECT ARRAY[i % 10, i / 10]::vector FROM generate_series(0, 99) i;
SELECT pg_temp.error_of($$INSERT INTO keyed VALUES ('[3,4]')$$);
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM keyed WHERE v = '[3,4]';
SELECT * FROM keyed WHERE v > '[8,9]' AND v <= '[9,2]' ORDER BY v;
EXPLAIN (COSTS OFF) SELECT * FROM keyed ORDER BY v DESC LIMIT 2;
SELECT * FROM keyed ORDER BY v DESC LIMIT 2;
CREATE TEMP TABLE other (v vector PRIMARY KEY);
INSERT INTO other SELECT ARRAY[i, 5]::vector FROM generate_series(-5, 5) i;
SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM keyed JOIN other USING (v);
SELECT count(*) FROM keyed JOIN other USING (v);
RESET enable_nestloop;
RESET enable_seqscan;
SELECT opcname, opcdefault, amvalidate(c.oid) FROM pg_opclass c
JOIN pg_am a ON a.oid = opcmethod
WHERE opcintype = 'vector'::regtype AND amname = 'btree';

-- a toasted value can be compared and sorted
CREATE TEMP TABLE toasted (i int, v vector(4000));
INSERT INTO toasted SELECT i, array_fill(i, ARRAY[4000])::vector FROM generate_series(1, 20) i;
SELECT array_agg(i ORDER BY v DESC) FROM toasted;
SELECT count(*) FROM toasted WHERE v > array_fill(15, ARRAY[4000])::vector;

-- ANALYZE of a column that mixes dimensions and NULLs
CREATE TEMP TABLE mixed AS
	SELECT CASE WHEN i % 10 = 0 THEN NULL ELSE array_fill(i % 7, ARRAY[1 + i % 3])::vector END AS v
	FROM generate_series(1, 1000) i;
INSERT INTO mixed SELECT array_fill(1, ARRAY[16000])::vector;
ANALYZE mixed;
SELECT round(null_frac::numeric, 2) AS null_frac, n_distinct FROM pg_stats WHERE tablename = 'mixed';
SELECT v, count(*) FROM mixed WHERE v < '[1,1]' GROUP BY v ORDER BY v;
SELECT pg_temp.error_of($$SELECT v + '[1]' FROM mixed$$);

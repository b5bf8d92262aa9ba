-- sum and avg
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

SELECT sum(v), avg(v) FROM (VALUES ('[1,2,3]'::vector), ('[3,5,7]'), (NULL)) i(v);
SELECT sum(v), avg(v) FROM (VALUES ('[1e-45]'::vector)) i(v);
SELECT sum(v) IS NULL AS sum, avg(v) IS NULL AS avg FROM (SELECT '[1]'::vector AS v WHERE false) s;
SELECT sum(v) IS NULL AS sum, avg(v) IS NULL AS avg FROM (VALUES (NULL::vector), (NULL)) i(v);
SELECT g, sum(v), avg(v) FROM (VALUES (1, '[1]'::vector), (1, '[2]'), (2, '[1,2]'), (3, NULL)) i(g, v)
GROUP BY g ORDER BY g;
-- float8 inside: neither lost small parts nor a false overflow
SELECT sum(v) FROM (VALUES ('[16777216,3e38]'::vector), ('[1,3e38]'), ('[1,-3e38]'), ('[1,-3e38]'), ('[1,1]')) i(v);
SELECT avg(v) FROM (VALUES ('[3e38]'::vector), ('[3e38]')) i(v);
SELECT avg(v) FROM (VALUES ('[3.4028235e38]'::vector), ('[3.4028235e38]'), ('[3.4028235e38]')) i(v);
-- as window functions and distinct
SELECT i, sum(v) OVER w, avg(v) OVER w FROM (VALUES (1, '[1]'::vector), (2, '[2]'), (3, NULL), (4, '[6]')) i(i, v)
WINDOW w AS (ORDER BY i);
SELECT sum(DISTINCT v), sum(v) FILTER (WHERE v > '[1]') FROM (VALUES ('[1]'::vector), ('[1]'), ('[2]')) i(v);
SELECT vector_dims(sum(v)), sum(v) = array_fill(3, ARRAY[16000])::vector
FROM (SELECT array_fill(i, ARRAY[16000])::vector AS v FROM generate_series(1, 2) i) s;

SELECT s AS query, pg_temp.error_of('SELECT ' || s) FROM (VALUES
	('sum(v) FROM (VALUES (''[3e38]''::vector), (''[3e38]'')) i(v)'),
	('sum(v) FROM (VALUES (''[1,2]''::vector), (''[3]'')) i(v)'),
	('avg(v) FROM (VALUES (''[1]''::vector), (''[3,4]'')) i(v)')) i(s);
-- the states are not for users: minor releases refuse in two ways
SELECT s AS query, pg_temp.error_of('SELECT ' || s) ~ '^(42883|0A000) / ' AS refused
FROM (VALUES ('vector_avg(NULL)'), ('vector_deserialize(''\x00'', NULL)')) i(s);

-- parallel: the plan, and the value of a serial one
CREATE TABLE vector_agg_items (g int, v vector(3)) WITH (parallel_workers = 2);
INSERT INTO vector_agg_items SELECT i % 3,
	CASE WHEN i % 100 <> 0 THEN ARRAY[i, i % 7, -i]::vector END FROM generate_series(1, 20000) i;
ANALYZE vector_agg_items;
SET max_parallel_workers_per_gather = 0;
SELECT sum(v) AS s, avg(v) AS a FROM vector_agg_items \gset serial_
SELECT array_agg((g, s, a)::text ORDER BY g) AS g
FROM (SELECT g, sum(v) AS s, avg(v) AS a FROM vector_agg_items GROUP BY g) i \gset serial_
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sum(v), avg(v) FROM vector_agg_items;
SELECT sum(v) = :'serial_s' AS sum, avg(v) = :'serial_a' AS avg FROM vector_agg_items;
SELECT array_agg((g, s, a)::text ORDER BY g) = :'serial_g' AS groups
FROM (SELECT g, sum(v) AS s, avg(v) AS a FROM vector_agg_items GROUP BY g) i;
SELECT :'serial_s' AS sum, :'serial_a' AS avg;
-- only workers, so that every state crosses a process; some have no row
SET parallel_leader_participation = off;
SELECT sum(v) = :'serial_s' AS sum, avg(v) = :'serial_a' AS avg FROM vector_agg_items;
SELECT sum(v) AS sum, avg(v) AS avg FROM vector_agg_items WHERE v = '[7,0,-7]';
SELECT sum(v) AS sum, avg(v) AS avg FROM vector_agg_items WHERE v IS NULL;
-- states of different dimensions meet, in one worker or in the leader
ALTER TABLE vector_agg_items ALTER v TYPE vector;
INSERT INTO vector_agg_items VALUES (0, '[1,2]');
SELECT pg_temp.error_of('SELECT sum(v) FROM vector_agg_items') ~
	'^22000 / expected [23] dimensions, not [23]$' AS refused;
DROP TABLE vector_agg_items;

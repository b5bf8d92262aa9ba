-- @am@: what a scan has found takes work_mem, and then temporary files
SET client_min_messages = warning;
SET jit = off;
CREATE TABLE m (id int PRIMARY KEY, f int, v vector(3));
INSERT INTO m SELECT i, i % 4, ARRAY[i % 13, i % 11, i % 17]::vector
FROM generate_series(1, 20000) i;
CREATE INDEX m_v ON m USING @am@ (v, f);
VACUUM ANALYZE m;
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_bitmapscan = off;

CREATE FUNCTION pg_temp.writes(query text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
	IF plan::text !~ 'Order By' THEN RAISE 'the index is not scanned'; END IF;
	RETURN (plan->0->'Plan'->>'Temp Written Blocks')::int > 0;
END $$;

-- Rows, how many of them are there twice, and how many come out of order.  Few do:
-- those that were found late.
CREATE FUNCTION pg_temp.rows_of(condition text, OUT n bigint, OUT twice bigint, OUT few_late boolean)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$
		SELECT count(*), count(*) - count(DISTINCT id),
			count(*) FILTER (WHERE d < last) < count(*) / 100 + 1
		FROM (SELECT id, d, lag(d) OVER () AS last
			  FROM (SELECT id, v <#> '[3,1,2]' AS d FROM m %s
					ORDER BY v <#> '[3,1,2]' LIMIT 1000000) s) s $q$, condition)
	INTO n, twice, few_late;
END $$;

SELECT * FROM pg_temp.rows_of('');
SET work_mem = '64MB';
SELECT pg_temp.writes('SELECT id FROM m ORDER BY v <#> ''[3,1,2]'' LIMIT 1000000');
SET work_mem = '64kB';
SELECT pg_temp.writes('SELECT id FROM m ORDER BY v <#> ''[3,1,2]'' LIMIT 1000000');
SELECT * FROM pg_temp.rows_of('');
SELECT * FROM pg_temp.rows_of('WHERE f <> 3');
SELECT * FROM pg_temp.rows_of('WHERE f >= 1 AND id % 10 = 0');

-- again and again, each time from the start
SELECT q, count(*), count(DISTINCT id)
FROM (VALUES ('[1,0,0]'::vector), ('[0,-1,1]'), (NULL)) q(q),
	LATERAL (SELECT id FROM m ORDER BY v <#> q LIMIT 1000000) s
GROUP BY q ORDER BY q;

-- A cursor: the files are made in a subtransaction that is undone, and stay.
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM m ORDER BY v <#> '[3,1,2]';
CREATE TEMP TABLE fetched (id int);
CREATE FUNCTION pg_temp.fetch_from(c refcursor, n int) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE id int;
BEGIN
	FOR i IN 1 .. n LOOP
		FETCH c INTO id;
		EXIT WHEN NOT FOUND;
		INSERT INTO fetched VALUES (id);
	END LOOP;
	RETURN (SELECT count(*) FROM fetched);
END $$;
SELECT pg_temp.fetch_from('c', 5);
SAVEPOINT s;
MOVE FORWARD 9995 IN c;
ROLLBACK TO s;
SELECT pg_temp.fetch_from('c', 1000000);
SELECT count(DISTINCT id) FROM fetched;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM m ORDER BY v <#> '[3,1,2]';
COMMIT;
TRUNCATE fetched;
SELECT pg_temp.fetch_from('h', 1000000);
SELECT count(DISTINCT id) FROM fetched;
CLOSE h;

-- a cursor that is given up on the way
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM m ORDER BY v <#> '[3,1,2]';
MOVE FORWARD 10000 IN c;
CLOSE c;
DECLARE c CURSOR FOR SELECT id FROM m ORDER BY v <#> '[3,1,2]';
MOVE FORWARD 10000 IN c;
ABORT;

-- a limit of files is an error, and the session goes on
\set VERBOSITY sqlstate
SET temp_file_limit = '150kB';
SELECT count(*) FROM (SELECT id FROM m ORDER BY v <#> '[3,1,2]' LIMIT 1000000) s;
SELECT count(*) FROM (SELECT id FROM m ORDER BY v <#> '[3,1,2]' LIMIT 100) s;
RESET temp_file_limit;
\set VERBOSITY default
SELECT * FROM pg_temp.rows_of('');
DROP TABLE m;

-- A statement that inserts rows does not grow with them, whatever the filter
-- columns: of these, hash functions may leave memory behind.
CREATE FUNCTION pg_temp.note_memory() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.id IN (1000, 2000) THEN
		INSERT INTO memory SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name = 'ExecutorState';
	END IF;
	RETURN new;
END $$;
CREATE TEMP TABLE memory (bytes bigint);
CREATE TEMP TABLE rows AS SELECT i AS id, i::numeric AS a, i::text AS b, i::text::bpchar AS c,
	ARRAY[i] AS d, ARRAY[i]::numeric[] AS e, ARRAY[i, 1]::vector AS v FROM generate_series(1, 2000) i;
CREATE TABLE m (LIKE rows);
CREATE INDEX m_v ON m USING @am@ (v vector_l2_ops, a, b, c, d, e);
CREATE TRIGGER note BEFORE INSERT ON m FOR EACH ROW EXECUTE FUNCTION pg_temp.note_memory();
INSERT INTO m SELECT * FROM rows;
SELECT count(*), max(bytes) - min(bytes) < 2000 AS no_growth FROM memory;
DROP TABLE m;

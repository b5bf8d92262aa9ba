-- recsys.stat_index: what all index scans of the database have done
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;
CREATE TABLE counted (id int, k int, v vector(16));
INSERT INTO counted SELECT i, i % 100, pg_temp.noise(i, 16) FROM generate_series(1, 3000) i;
CREATE INDEX counted_ivfpq ON counted USING recsys_ivfpq (v, k) WITH (lists = 20);
CREATE INDEX counted_hnsw ON counted USING recsys_hnsw (v vector_l2_ops);
ANALYZE counted;
SET enable_seqscan = off;
SET enable_sort = off;
CREATE VIEW counts AS SELECT index, method, scans, rows, visited, filtered_out,
	refined, lists, graph_scans, lists_scans, exact_scans
FROM recsys.stat_index WHERE index::text ~ '^counted' ORDER BY index::text COLLATE "C";
CREATE TABLE former AS SELECT clock_timestamp() AS at;

-- an index that has not been scanned has no row
SELECT * FROM counts;

-- each number of the view is the sum of what the scans have told
CREATE TABLE told AS SELECT * FROM recsys.last_scan() LIMIT 0;
CREATE FUNCTION pg_temp.scan(query text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT count(*) FROM (' || query || ') s';
	INSERT INTO told SELECT * FROM recsys.last_scan();
END $$;
SET recsys.ivfpq_probes = 2;
SELECT pg_temp.scan('SELECT id FROM counted WHERE k < 10 ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 5');
RESET recsys.ivfpq_probes;
SELECT pg_temp.scan('SELECT id FROM counted ORDER BY v <#> pg_temp.noise(-2, 16)');
SELECT pg_temp.scan($q$SELECT id FROM counted WHERE k = ANY ('{}') ORDER BY v <#> pg_temp.noise(-1, 16)$q$);
SELECT pg_temp.scan('SELECT id FROM counted ORDER BY v <-> pg_temp.noise(-3, 16) LIMIT 5');
SELECT pg_temp.scan('SELECT id FROM counted ORDER BY v <-> pg_temp.noise(-4, 16) LIMIT 7');
SELECT pg_temp.scan('SELECT id FROM counted ORDER BY v <-> pg_temp.noise(-5, 16)');
SELECT index, strategy, rows > 0 AS rows, visited > 0 AS visited FROM told;
SELECT * FROM counts EXCEPT
SELECT index, amname, count(*), sum(rows), sum(visited), sum(filtered_out), sum(refined), sum(lists),
	count(*) FILTER (WHERE strategy = 'graph'), count(*) FILTER (WHERE strategy = 'lists'),
	count(*) FILTER (WHERE strategy = 'exact')
FROM told JOIN pg_class c ON c.oid = index JOIN pg_am a ON a.oid = relam GROUP BY index, amname;
SELECT index, method, scans, graph_scans, lists_scans, exact_scans FROM counts;
SELECT count(*) FROM recsys.stat_index, former
WHERE index::text ~ '^counted' AND stats_reset BETWEEN at AND clock_timestamp();

-- each scan of a nested loop counts
SELECT count(*) FROM generate_series(1, 10) i,
	LATERAL (SELECT id FROM counted ORDER BY v <-> pg_temp.noise(i, 16) LIMIT 1) s;
SELECT index, scans, graph_scans FROM counts WHERE method = 'recsys_hnsw';

-- everybody may read, and not reset
CREATE ROLE stat_reader;
SET ROLE stat_reader;
SELECT count(*) FROM recsys.stat_index WHERE index::text ~ '^counted';
SELECT recsys.stat_index_reset();
RESET ROLE;
GRANT EXECUTE ON FUNCTION recsys.stat_index_reset() TO stat_reader;
TRUNCATE former;
INSERT INTO former VALUES (clock_timestamp());
SET ROLE stat_reader;
SELECT recsys.stat_index_reset();
RESET ROLE;
SELECT * FROM counts;
SELECT count(*) FROM recsys.stat_index, former
WHERE index::text ~ '^counted' AND stats_reset BETWEEN at AND clock_timestamp();
SELECT pg_temp.scan('SELECT id FROM counted ORDER BY v <-> pg_temp.noise(-3, 16) LIMIT 5');
SELECT index, scans, rows > 0 AS rows FROM counts;
REVOKE EXECUTE ON FUNCTION recsys.stat_index_reset() FROM stat_reader;
DROP ROLE stat_reader;

-- more indexes than there is room for: the last ones are still counted, and
-- dropped ones do not show
CREATE TEMP TABLE passing (v vector(2));
INSERT INTO passing VALUES ('[1,2]');
CREATE FUNCTION pg_temp.many(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		DROP INDEX IF EXISTS passing_idx;
		CREATE INDEX passing_idx ON passing USING recsys_hnsw (v);
		PERFORM v FROM passing ORDER BY v <#> '[1,1]';
	END LOOP;
	PERFORM v FROM passing ORDER BY v <#> '[1,1]';
END $$;
SELECT pg_temp.many(1500);
SELECT index, scans FROM recsys.stat_index WHERE index::text ~ 'passing|^[0-9]';
SELECT count(*) BETWEEN 512 AND 1024 AS bounded FROM recsys.stat_index_counts();
DROP TABLE counted, told, former CASCADE;

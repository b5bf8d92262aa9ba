-- recsys.last_scan: what the last index scan of this session has done
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;
CREATE TABLE scanned (id int, k int, v vector(16));
INSERT INTO scanned SELECT i, i % 100, pg_temp.noise(i, 16) FROM generate_series(1, 3000) i;
CREATE INDEX scanned_ivfpq ON scanned USING recsys_ivfpq (v, k) WITH (lists = 20);
CREATE INDEX scanned_hnsw ON scanned USING recsys_hnsw (v vector_l2_ops);
ANALYZE scanned;
SET enable_seqscan = off;
SET enable_sort = off;

-- none yet
SELECT * FROM recsys.last_scan();
-- filtered
SELECT count(*) FROM (SELECT id FROM scanned WHERE k < 10 ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 5) s;
SELECT index, strategy, rows BETWEEN 5 AND 50 AS rows, visited BETWEEN 300 AND 3000 AS visited,
	filtered_out BETWEEN visited / 2 AND visited - rows AS filtered_out,
	refined BETWEEN rows AND visited - filtered_out AS refined, lists BETWEEN 1 AND 20 AS lists
FROM recsys.last_scan();
-- all rows, by a scan that no condition restricts
SELECT count(*) FROM (SELECT id FROM scanned ORDER BY v <#> pg_temp.noise(-1, 16)) s;
SELECT index, strategy, rows, visited >= 3000 AS visited, filtered_out, refined, lists FROM recsys.last_scan();
-- the graph's
SELECT count(*) FROM (SELECT id FROM scanned ORDER BY v <-> pg_temp.noise(-1, 16) LIMIT 5) s;
SELECT index, strategy, rows BETWEEN 5 AND 50 AS rows, visited BETWEEN rows AND 1000 AS visited,
	filtered_out, refined, lists FROM recsys.last_scan();
-- a condition that nothing satisfies needs no scan
SELECT count(*) FROM (SELECT id FROM scanned WHERE k = ANY ('{}') ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 5) s;
SELECT * FROM recsys.last_scan();
DROP TABLE scanned;

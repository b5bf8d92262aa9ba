-- A scan knows the LIMIT above it, and finds its rows together
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;
CREATE TABLE limited (id int PRIMARY KEY, v vector(24));
INSERT INTO limited SELECT i, pg_temp.noise(i, 24) FROM generate_series(1, 6000) i;
CREATE INDEX limited_v ON limited USING recsys_hnsw (v);
CREATE TABLE seen (id int PRIMARY KEY);
INSERT INTO seen SELECT * FROM generate_series(1, 6000, 100);
ANALYZE limited;
ANALYZE seen;
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;

-- whether the last scan has visited far fewer nodes than one for 40 rows whose
-- LIMIT is not known, which goes on to its stage for 112
CREATE FUNCTION pg_temp.knew() RETURNS boolean
LANGUAGE sql AS $$ SELECT visited < current_setting('limited.visits')::int / 1.4 FROM recsys.last_scan() $$;

BEGIN;
DECLARE c CURSOR FOR SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24);
MOVE 40 FROM c;
COMMIT;
SELECT set_config('limited.visits', visited::text, false) IS NOT NULL AS noted FROM recsys.last_scan();
SELECT pg_temp.knew();

-- a constant, with OFFSET, a parameter
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40) s;
SELECT pg_temp.knew();
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 10 OFFSET 30) s;
SELECT pg_temp.knew();
SET plan_cache_mode = force_generic_plan;
PREPARE p(bigint) AS SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT $1) s;
EXECUTE p(40);
SELECT pg_temp.knew();
-- without end, and with NULL: all rows
EXECUTE p(NULL);
SELECT pg_temp.knew();
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) OFFSET 5990) s;

-- through nodes that pass rows on
SELECT count(*) FROM (SELECT id FROM limited l WHERE NOT EXISTS (SELECT FROM seen s WHERE s.id = l.id)
	ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40) s;
SELECT pg_temp.knew();
-- more rows than the limit says where a join throws them away
SELECT count(*) FROM (SELECT id FROM limited l WHERE EXISTS (SELECT FROM seen s WHERE s.id = l.id)
	ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40) s;
SELECT pg_temp.knew();

-- where the rows of the first stage do not do, the next has as many as they call for:
-- one in four is thrown away, 80 rows are wanted, and not three times 60
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 120) s;
SELECT set_config('limited.more', visited::text, false) IS NOT NULL AS noted FROM recsys.last_scan();
SELECT count(*) FROM (SELECT id FROM limited WHERE id % 4 > 0 ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 60) s;
SELECT visited < current_setting('limited.more')::int AS knew FROM recsys.last_scan();
-- none has passed by then
SELECT count(*) FROM (SELECT id FROM limited WHERE v <#> pg_temp.noise(-1, 24) > -1 ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 10) s;

-- how long a scan looks for more is up to ef_search, whatever the LIMIT
SET recsys.hnsw_ef_search = 10;
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 100) s;
SELECT set_config('limited.visits_10', visited::text, false) IS NOT NULL AS noted FROM recsys.last_scan();
SET recsys.hnsw_ef_search = 160;
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 100) s;
SELECT visited > 2 * current_setting('limited.visits_10')::int AS more FROM recsys.last_scan();
RESET recsys.hnsw_ef_search;

-- one scan for each outer row; inside a function; under EXPLAIN
SELECT count(*), count(DISTINCT near.id) > 80 AS different FROM generate_series(1, 3) i,
	LATERAL (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-i, 24) LIMIT 40) near;
DO $$
DECLARE
	n int := 0;
	r record;
BEGIN
	FOR r IN SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40 LOOP
		n := n + 1;
	END LOOP;
	ASSERT n = 40;
END $$;
SELECT pg_temp.knew();
DO $$
BEGIN
	PERFORM id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40;
END $$;
SELECT pg_temp.knew();
DO $$
DECLARE
	line text;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, COSTS off) SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40' INTO line;
END $$;
SELECT pg_temp.knew();

-- a statement that fails leaves nothing behind
SELECT 1 / (id - id) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40) s;
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40) s;
SELECT pg_temp.knew();

-- recsys_ivfpq
DROP INDEX limited_v;
CREATE INDEX limited_v ON limited USING recsys_ivfpq (v);
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24);
MOVE 40 FROM c;
COMMIT;
SELECT set_config('limited.refined', refined::text, false) IS NOT NULL AS noted FROM recsys.last_scan();
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 40) s;
SELECT refined < current_setting('limited.refined')::int / 1.4 AS knew FROM recsys.last_scan();
SELECT count(*) FROM (SELECT id FROM limited ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 120) s;
SELECT set_config('limited.more', refined::text, false) IS NOT NULL AS noted FROM recsys.last_scan();
SELECT count(*) FROM (SELECT id FROM limited WHERE id % 4 > 0 ORDER BY v <#> pg_temp.noise(-1, 24) LIMIT 60) s;
SELECT refined < current_setting('limited.more')::int AS knew FROM recsys.last_scan();

DROP TABLE limited, seen;

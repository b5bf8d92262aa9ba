-- @am@: when the planner takes the index
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

CREATE TABLE items (id int PRIMARY KEY, grp int NOT NULL, v vector(64) NOT NULL);
INSERT INTO items SELECT i, i % 100, pg_temp.noise(i, 64) FROM generate_series(1, 5000) i;
CREATE INDEX items_v ON items USING @am@ (v);
CREATE INDEX items_grp ON items (grp);
CREATE TABLE tiny (id int, v vector(64));
INSERT INTO tiny SELECT id, v FROM items WHERE id <= 20;
CREATE INDEX tiny_v ON tiny USING @am@ (v);
CREATE TABLE users (id int PRIMARY KEY, v vector(64));
INSERT INTO users SELECT i, pg_temp.noise(-i, 64) FROM generate_series(1, 50) i;
VACUUM ANALYZE items, tiny, users;

-- the parts of a plan that tell which way it goes
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	line text; result text[];
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || replace(query, '$q', quote_literal(pg_temp.noise(0, 64))) LOOP
		result := result || (regexp_match(line,
			'(Index Only Scan using \w+|Index Scan using \w+|Seq Scan on \w+|Sort$|Merge Append|Order By)'))[1];
	END LOOP;
	RETURN array_to_string(result, ', ');
END $$;

SELECT pg_temp.plan_of('SELECT id FROM items ORDER BY v <#> $q LIMIT 10');
SELECT query, pg_temp.plan_of(query) ~ 'Index Scan using (items|tiny)_v, Order By' AS taken FROM unnest(ARRAY[
	-- taken
	'SELECT id FROM items ORDER BY v <#> $q LIMIT 1',
	'SELECT id FROM items ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM items ORDER BY v <#> $q LIMIT 100',
	'SELECT id FROM items ORDER BY $q <#> v LIMIT 10',
	'SELECT id FROM items ORDER BY v <#> $q OFFSET 20 LIMIT 10',
	'SELECT id, v <#> $q AS score FROM items ORDER BY score LIMIT 10',
	'SELECT id FROM items WHERE grp > 50 ORDER BY v <#> $q LIMIT 10',
	'SELECT v FROM items ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM items ORDER BY v <#> (SELECT v FROM users WHERE id = 1) LIMIT 10',
	'SELECT u.id, n.id FROM users u, LATERAL (SELECT id FROM items ORDER BY v <#> u.v LIMIT 10) n',
	'WITH best AS (SELECT id FROM items ORDER BY v <#> $q LIMIT 10) SELECT * FROM best JOIN items USING (id)',
	'WITH best AS MATERIALIZED (SELECT id, v <#> $q AS s FROM items ORDER BY s LIMIT 10) SELECT * FROM best ORDER BY s',
	'SELECT * FROM (SELECT id FROM items ORDER BY v <#> $q LIMIT 10) s WHERE id > 7',
	'SELECT ARRAY(SELECT id FROM items ORDER BY v <#> $q LIMIT 10)',
	'SELECT i.id FROM items i JOIN users u ON u.id = i.grp ORDER BY i.v <#> $q LIMIT 10',
	'SELECT id FROM items ORDER BY v <#> $q FETCH FIRST 10 ROWS ONLY']) query;
SELECT query, pg_temp.plan_of(query) ~ '(items|tiny)_v' AS taken FROM unnest(ARRAY[
	'SELECT id FROM items ORDER BY v <#> $q',
	'SELECT id FROM items ORDER BY v <#> $q LIMIT 5000',
	'SELECT id FROM tiny ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM items WHERE grp = 7 ORDER BY v <#> $q LIMIT 40',
	'SELECT id FROM items WHERE id = 7 ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM items ORDER BY v <#> $q DESC LIMIT 10',
	'SELECT id FROM items ORDER BY v <#> $q NULLS FIRST LIMIT 10',
	'SELECT id FROM items ORDER BY - (v <#> $q) LIMIT 10',
	'SELECT id FROM items ORDER BY v <-> $q LIMIT 10',
	'SELECT id FROM items ORDER BY v <=> $q LIMIT 10',
	'SELECT id FROM items ORDER BY inner_product(v, $q) LIMIT 10',
	'SELECT id FROM items ORDER BY v LIMIT 10',
	'SELECT count(*) FROM items',
	'SELECT id FROM items WHERE v <#> $q < 0',
	'SELECT id FROM items WHERE v IS NOT NULL',
	'SELECT id FROM items WHERE v = $q']) query;

-- what the index cannot do is not forced upon it either
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
SELECT query, pg_temp.plan_of(query) ~ 'items_v' AS taken FROM unnest(ARRAY[
	'SELECT count(*) FROM items',
	'SELECT v FROM items',
	'SELECT id FROM items ORDER BY v <-> $q LIMIT 10',
	'SELECT id FROM items ORDER BY v <#> $q DESC LIMIT 10',
	'SELECT id FROM items ORDER BY v LIMIT 10',
	'SELECT id FROM items WHERE v IS NULL']) query;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_sort;

-- the whole text
EXPLAIN (COSTS OFF) SELECT id FROM tiny ORDER BY v <-> '[1]' LIMIT 3;
CREATE TABLE wide (id int, v vector(2));
INSERT INTO wide SELECT i, pg_temp.noise(i, 2) FROM generate_series(1, 10000) i;
CREATE INDEX wide_v ON wide USING @am@ (v);
ANALYZE wide;
EXPLAIN (COSTS OFF) SELECT id FROM wide ORDER BY v <#> '[1,2]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM wide WHERE id > 2000 ORDER BY v <#> '[1,2]' LIMIT 10;
-- no parallel workers for a few rows, and none that read the index
SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
EXPLAIN (COSTS OFF) SELECT id FROM wide ORDER BY v <#> '[1,2]' LIMIT 10;
RESET min_parallel_table_scan_size;
RESET min_parallel_index_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
-- a volatile function is called for each row, but once in a subquery
CREATE FUNCTION pg_temp.changing() RETURNS vector LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN '[1,2]'; END $$;
EXPLAIN (COSTS OFF) SELECT id FROM wide ORDER BY v <#> pg_temp.changing() LIMIT 10;
SELECT pg_temp.plan_of('SELECT id FROM wide ORDER BY v <#> (SELECT pg_temp.changing()) LIMIT 10');

@hnsw@-- costs: a start-up, then rows that grow with LIMIT; more visits cost more
@ivfpq@-- costs: a start-up, then rows that grow with LIMIT; more lists cost more
CREATE FUNCTION pg_temp.cost(query text, OUT startup float8, OUT total float8)
LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	startup := plan->0->'Plan'->>'Startup Cost';
	total := plan->0->'Plan'->>'Total Cost';
END $$;
SELECT ten.startup > 0, ten.startup <= hundred.startup, ten.total > ten.startup,
	hundred.total > ten.total
FROM pg_temp.cost('SELECT id FROM wide ORDER BY v <#> ''[1,2]'' LIMIT 10') ten,
	pg_temp.cost('SELECT id FROM wide ORDER BY v <#> ''[1,2]'' LIMIT 100') hundred;
-- conditions that are checked on the row: more rows are returned and thrown away
SELECT few.startup > most.startup, most.startup > each.startup
FROM pg_temp.cost('SELECT id FROM wide WHERE id < 4000 ORDER BY v <#> ''[1,2]'' LIMIT 10') few,
	pg_temp.cost('SELECT id FROM wide WHERE id < 7000 ORDER BY v <#> ''[1,2]'' LIMIT 10') most,
	pg_temp.cost('SELECT id FROM wide ORDER BY v <#> ''[1,2]'' LIMIT 10') each;
CREATE TEMP TABLE costs AS SELECT * FROM pg_temp.cost('SELECT id FROM wide ORDER BY v <#> ''[1,2]'' LIMIT 10');
@hnsw@SET recsys.hnsw_ef_search = 400;
@hnsw@SELECT now.startup > before.startup FROM costs before, pg_temp.cost('SELECT id FROM wide ORDER BY v <#> ''[1,2]'' LIMIT 10') now;
@hnsw@RESET recsys.hnsw_ef_search;
@ivfpq@SET recsys.ivfpq_probes = 1;
@ivfpq@SELECT now.startup < before.startup FROM costs before, pg_temp.cost('SELECT id FROM wide ORDER BY v <#> ''[1,2]'' LIMIT 10') now;
@ivfpq@RESET recsys.ivfpq_probes;

-- partitions are merged in the order of the distance
CREATE TABLE parts (id int, v vector(2)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (4000);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (4000) TO (10001);
CREATE INDEX parts_v ON parts USING @am@ (v);
INSERT INTO parts SELECT * FROM wide WHERE id % 4 = 0;
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (10001) TO (30000);
INSERT INTO parts SELECT 10000 + id, v FROM wide WHERE id % 4 = 1;
ANALYZE parts;
EXPLAIN (COSTS OFF) SELECT id FROM parts ORDER BY v <#> '[1,2]' LIMIT 10;
SELECT array_agg(id) AS by_index FROM (SELECT id FROM parts ORDER BY v <#> '[1,2]' LIMIT 10) s;
SET enable_indexscan = off;
SELECT array_agg(id) AS exact FROM (SELECT id FROM parts ORDER BY v <#> '[1,2]' LIMIT 10) s;
RESET enable_indexscan;
-- and so are children
CREATE TABLE child () INHERITS (wide);
INSERT INTO child SELECT 30000 + id, v FROM wide WHERE id % 3 = 0;
CREATE INDEX child_v ON child USING @am@ (v);
ANALYZE child;
SELECT pg_temp.plan_of('SELECT id FROM wide ORDER BY v <#> ''[1,2]'' LIMIT 10');

-- a function of the query vector that does not change is computed once
CREATE FUNCTION pg_temp.fixed(x int) RETURNS vector LANGUAGE plpgsql STABLE AS $$
BEGIN
	RAISE NOTICE 'computed';
	RETURN '[1,2]'::vector;
END $$;
SET client_min_messages = notice;
SELECT count(*) FROM (SELECT id FROM ONLY wide ORDER BY v <#> (SELECT pg_temp.fixed(1)) LIMIT 10) s;

DROP TABLE items, tiny, users, wide, parts, child;

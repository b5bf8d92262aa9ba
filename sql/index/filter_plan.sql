-- @am@: filter columns below all kinds of plans
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
@hnsw@SET recsys.hnsw_ef_search = 1000;

-- a vector that looks random and is the same everywhere
CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

-- The rows of a query, by the index and without it: are they the same, in the
-- same order?  scans says what the index scans of the plan check in the index
-- and what on the row.  $q is a vector.  A prepared statement, whose plan may
-- be older than the settings, is compared with the query beside it.
CREATE FUNCTION pg_temp.try(query text, exact text DEFAULT NULL,
	OUT scans text, OUT rows bigint, OUT same bool)
LANGUAGE plpgsql AS $$
DECLARE
	line text; plan text := ''; r record;
	found text[] := '{}'; found_true text[] := '{}';
BEGIN
	query := replace(query, '$q', quote_literal(pg_temp.noise(-1, 16)));
	exact := coalesce(replace(exact, '$q', quote_literal(pg_temp.noise(-1, 16))), query);
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_bitmapscan = off;
	SET LOCAL enable_sort = off;
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	SELECT string_agg(m[1] || CASE WHEN m[2] ~ '\n *Index Cond:' THEN ' cond' ELSE '' END
		|| CASE WHEN m[2] ~ '\n *Filter:' THEN ' filter' ELSE '' END, ', ') INTO scans
	FROM regexp_matches(plan, 'Index Scan using (\w+)[^\n]*((?:\n *(?:Index Cond|Order By|Filter):[^\n]*)+)', 'g') m
	WHERE m[2] ~ 'Order By:';
	FOR r IN EXECUTE query LOOP found := found || r::text; END LOOP;
	RESET enable_seqscan;
	RESET enable_bitmapscan;
	RESET enable_sort;
	SET LOCAL enable_indexscan = off;
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || exact LOOP
		IF line ~ 'Order By:' THEN RAISE 'not exact: %', exact; END IF;
	END LOOP;
	FOR r IN EXECUTE exact LOOP found_true := found_true || r::text; END LOOP;
	RESET enable_indexscan;
	rows := cardinality(found);
	same := found = found_true;
END $$;

CREATE TABLE items (id int PRIMARY KEY, cat int, price float8, ok bool, word text, tags text[], v vector(16));
INSERT INTO items SELECT i, CASE WHEN i % 11 > 0 THEN i % 7 END, i * 37 % 100, i % 3 > 0, 'word ' || i % 5,
	CASE i % 10 WHEN 0 THEN NULL WHEN 1 THEN '{}' WHEN 2 THEN ARRAY['a', NULL] ELSE ARRAY['a' || i % 4, 'b' || i % 6] END,
	pg_temp.noise(i, 16)
FROM generate_series(1, 600) i;
CREATE INDEX items_v ON items USING @am@ (v, cat, price, ok, word, tags);
CREATE TABLE seen (user_id int, item_id int, PRIMARY KEY (user_id, item_id));
-- user 1 has seen the best 400
INSERT INTO seen SELECT 1, id FROM (SELECT id FROM items ORDER BY (v <#> pg_temp.noise(-1, 16)) + 0 LIMIT 400) s;
INSERT INTO seen SELECT 2, id FROM items WHERE id % 2 = 0;
INSERT INTO seen SELECT 3, id FROM items;
CREATE TABLE users (id int PRIMARY KEY, cat int, cats int[], v vector(16));
INSERT INTO users SELECT i, nullif(i, 4), CASE WHEN i <> 5 THEN ARRAY[i, NULL, i + 1] END,
	CASE WHEN i <> 6 THEN pg_temp.noise(-i, 16) END FROM generate_series(1, 8) i;
CREATE TABLE cats (cat int PRIMARY KEY, name text);
INSERT INTO cats SELECT i, 'cat ' || i FROM generate_series(0, 4) i;
ANALYZE items, seen, users, cats;

-- what holds for no row, for all, and NULL where it may be
SELECT query, t.* FROM unnest(ARRAY[
	'cat = 1 AND cat = ANY (''{2,3}'')', 'price > 10 AND price < 10', 'price > 20 AND price <= 10',
	'ok AND NOT ok', 'ok AND ok IS NULL', 'cat IS NULL AND cat IS NOT NULL', 'cat IS NULL AND cat = 1',
	'cat = 1 AND cat = ANY (''{1,2}'') AND cat >= 1', 'cat = ANY (''{1,2}'') AND cat = ANY (''{2,3}'')',
	'price >= 0', 'cat = 12345', 'cat = NULL', 'cat = ANY (NULL::int[])', 'cat = ANY (''{}'')', 'cat = ANY (''{NULL}'')', 'cat = ANY (''{NULL,3,3,NULL}'')',
	'cat <> ALL (''{1,2}'') AND price < 50', 'NOT (cat = 1) AND ok', 'cat IS DISTINCT FROM 1 AND ok',
	'word = ''word 3'' AND ok', 'word = ANY (ARRAY[''word 3'', NULL])', 'word = NULL',
	'tags && ''{a,NULL}''', 'tags && ''{NULL}''', 'tags @> ''{a,NULL}''', 'tags @> ''{}''', 'tags && ''{}''', 'tags && NULL', 'tags @> ''{a1}'' AND tags @> ''{a2}''',
	'''{a1,b3}'' <@ tags', '''{a1,b3}'' && tags', '''a1'' = ANY (tags)', 'tags = ''{a1,b3}''',
	'50 > price', 'price BETWEEN 20 AND 30 AND ok IS NOT TRUE', 'price < 50 AND id % 2 = 0 AND word LIKE ''%3''', 'ok = (price > 50)', 'cat = id % 7 AND ok',
	'v IS NOT NULL AND cat = 3', 'false', 'cat = 3 AND random() < 2', '(cat, price) < (2, 30)']) WITH ORDINALITY u (query, i),
	pg_temp.try('SELECT id FROM items WHERE ' || query || ' ORDER BY v <#> $q') t ORDER BY i;
-- the same where the plan depends on the version of PostgreSQL
SELECT query, t.rows, t.same FROM unnest(ARRAY['cat = 1 AND cat = 2 ORDER BY v <#> $q', 'word = ''word 3'' AND word = ''word 4'' ORDER BY v <#> $q',
	'cat = 1 OR cat = 2 ORDER BY v <#> $q', 'cat = 3 ORDER BY v <#> $q, id LIMIT 20']) WITH ORDINALITY u (query, i),
	pg_temp.try('SELECT id FROM items WHERE ' || query) t ORDER BY i;

-- generic plans
SET plan_cache_mode = force_generic_plan;
-- conditions come in the order of the columns
PREPARE all_kinds(vector) AS SELECT id FROM items
	WHERE tags && '{a1}' AND price < 50 AND ok AND word = 'word 1' AND price > 10 AND cat = ANY ('{1,2}') ORDER BY v <#> $1 LIMIT 10;
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) EXECUTE all_kinds(NULL);
RESET enable_seqscan;
RESET enable_sort;
PREPARE range(int, float8, float8, bool, vector, int) AS SELECT id FROM items
	WHERE cat = $1 AND price >= $2 AND price < $3 AND ok = $4 ORDER BY v <#> $5 LIMIT $6;
SELECT args, t.* FROM unnest(ARRAY['3, 0, 50, true, $q, 10', '3, 20, 80, false, $q, 1000', '3, 0, 100, true, $q, NULL', '3, 0, 100, true, $q, 0',
	'3, 50, 10, true, $q, 10', 'NULL, 0, 50, true, $q, 10', '3, NULL, 50, true, $q, 10', '3, 0, 50, NULL, $q, 10', '3, ''-infinity'', ''NaN'', true, $q, 500']) WITH ORDINALITY u (args, i),
	regexp_split_to_array(args, ', ') a,
	pg_temp.try(format('EXECUTE range(%s)', args),
		format('SELECT id FROM items WHERE cat = %s AND price >= %s AND price < %s AND ok = %s ORDER BY v <#> %s LIMIT %s', VARIADIC a)) t ORDER BY i;
PREPARE any_of(int[], text[], text[], vector) AS SELECT id FROM items
	WHERE cat = ANY ($1) AND word = ANY ($2) AND tags && $3 ORDER BY v <#> $4 LIMIT 1000;
SELECT args, t.* FROM unnest(ARRAY['''{1,2,NULL}''; ''{word 1,word 4}''; ''{a1,b5}''; $q', '''{}''; ''{word 1}''; ''{a1}''; $q', '''{NULL}''; ''{word 1}''; ''{a1}''; $q', 'NULL; ''{word 1}''; ''{a1}''; $q',
	'''{1,2}''; NULL; ''{a1}''; $q', '''{1,2}''; ''{word 1}''; NULL; $q', '''{1,2}''; ''{word 1}''; ''{NULL}''; $q', '''{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}''; ''{word 1,word 2,word 3}''; ''{NULL,a1,b2,b3}''; $q']) WITH ORDINALITY u (args, i),
	regexp_split_to_array(args, '; ') a,
	pg_temp.try(format('EXECUTE any_of(%s)', replace(args, ';', ',')),
		format('SELECT id FROM items WHERE cat = ANY (%s) AND word = ANY (%s) AND tags && %s ORDER BY v <#> %s', VARIADIC a)) t ORDER BY i;
-- the plan that is kept, and made again after a change of the table
PREPARE kept(int, vector) AS SELECT id FROM items WHERE cat = $1 AND ok ORDER BY v <#> $2 LIMIT 5;
SELECT t.* FROM generate_series(1, 8) k, pg_temp.try(format('EXECUTE kept(%s, $q)', k), format('SELECT id FROM items WHERE cat = %s AND ok ORDER BY v <#> $q LIMIT 5', k)) t;
ALTER TABLE items DROP COLUMN word;
ALTER TABLE items ADD COLUMN word text;
UPDATE items SET word = 'word ' || id % 5;
SELECT t.* FROM pg_temp.try('EXECUTE kept(3, $q)', 'SELECT id FROM items WHERE cat = 3 AND ok ORDER BY v <#> $q LIMIT 5') t;
CREATE INDEX items_v ON items USING @am@ (v, cat, price, ok, word, tags);
SELECT t.* FROM pg_temp.try('EXECUTE kept(3, $q)', 'SELECT id FROM items WHERE cat = 3 AND ok ORDER BY v <#> $q LIMIT 5') t;
DEALLOCATE ALL;
RESET plan_cache_mode;
VACUUM ANALYZE items;

-- the vector, and what is looked for, from subqueries
SELECT query, t.* FROM unnest(ARRAY[
	'SELECT id FROM items WHERE cat = 3 ORDER BY v <#> (SELECT v FROM users WHERE id = 1) LIMIT 20',
	'SELECT id FROM items WHERE cat = (SELECT cat FROM users WHERE id = 2) ORDER BY v <#> (SELECT v FROM users WHERE id = 2) LIMIT 20',
	'SELECT id FROM items WHERE cat = ANY ((SELECT cats FROM users WHERE id = 2)::int[]) ORDER BY v <#> $q LIMIT 20',
	'SELECT id FROM items WHERE cat = ANY (ARRAY(SELECT cat FROM users WHERE id < 5)) AND price < 50 ORDER BY v <#> $q LIMIT 200',
	'SELECT id FROM items WHERE cat = (SELECT cat FROM users WHERE id = 4) ORDER BY v <#> $q LIMIT 20',
	'SELECT id FROM items WHERE cat = ANY ((SELECT cats FROM users WHERE id = 5)::int[]) ORDER BY v <#> $q LIMIT 20',
	'SELECT id FROM items WHERE cat = (SELECT cat FROM users WHERE id = 99) ORDER BY v <#> $q LIMIT 20',
	'SELECT ARRAY(SELECT id FROM items WHERE cat = 3 ORDER BY v <#> $q LIMIT 20)']) WITH ORDINALITY u (query, i),
	pg_temp.try(query) t ORDER BY i;
-- no vector, no order; yet all rows
SELECT t.* FROM pg_temp.try('SELECT count(*), sum(id) FROM (SELECT id FROM items WHERE cat = 3 ORDER BY v <#> (SELECT v FROM users WHERE id = 6) LIMIT 1000) s') t;

-- what lies on top asks for more rows, for as long as there are any
SELECT query, t.* FROM unnest(ARRAY[
	'SELECT id FROM items i WHERE ok AND NOT EXISTS (SELECT FROM seen s WHERE s.user_id = 1 AND s.item_id = i.id) ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM items i WHERE ok AND NOT EXISTS (SELECT FROM seen s WHERE s.user_id = 1 AND s.item_id = i.id) ORDER BY v <#> $q LIMIT 1000',
	'SELECT id FROM items i WHERE cat = ANY (''{1,2}'') AND NOT EXISTS (SELECT FROM seen s WHERE s.user_id = 2 AND s.item_id = i.id) ORDER BY v <#> $q LIMIT 30',
	'SELECT id FROM items i WHERE price < 50 AND NOT EXISTS (SELECT FROM seen s WHERE s.user_id = 3 AND s.item_id = i.id) ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM items i WHERE price < 50 AND id NOT IN (SELECT item_id FROM seen WHERE user_id = 1) ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM items i WHERE price < 50 AND EXISTS (SELECT FROM seen s WHERE s.user_id = 2 AND s.item_id = i.id) ORDER BY v <#> $q LIMIT 10',
	'SELECT id, name FROM items i JOIN cats c USING (cat) WHERE price < 50 ORDER BY v <#> $q LIMIT 20',
	'SELECT id, name FROM items i LEFT JOIN cats c USING (cat) WHERE price < 50 AND ok ORDER BY v <#> $q LIMIT 20',
	'SELECT id, name FROM items i LEFT JOIN cats c USING (cat) WHERE price < 50 AND c.cat IS NULL ORDER BY v <#> $q LIMIT 20',
	'SELECT id FROM items WHERE price < 50 AND id % 17 = 0 ORDER BY v <#> $q LIMIT 15',
	'SELECT id FROM items WHERE price < 50 ORDER BY v <#> $q OFFSET 100 LIMIT 15',
	'SELECT id FROM items WHERE cat = 3 ORDER BY v <#> $q FETCH FIRST 5 ROWS WITH TIES',
	'SELECT DISTINCT ON (v <#> $q) id FROM items WHERE cat = 3 ORDER BY v <#> $q LIMIT 20',
	'SELECT id, row_number() OVER (ORDER BY v <#> $q) FROM items WHERE cat = 3 LIMIT 20',
	'SELECT * FROM (SELECT id, price FROM items WHERE cat = 3 ORDER BY v <#> $q LIMIT 20) s WHERE price > 50',
	'(SELECT id FROM items WHERE cat = 3 ORDER BY v <#> $q LIMIT 5) UNION ALL (SELECT id FROM items WHERE cat = 4 ORDER BY v <#> $q LIMIT 5)',
	'SELECT id FROM (SELECT id, v, cat, ok FROM items UNION ALL SELECT item_id, NULL, user_id, true FROM seen) s WHERE cat = 2 AND ok ORDER BY v <#> $q LIMIT 20',
	'SELECT abs(id) FROM (SELECT id, v, cat, ok FROM items UNION ALL SELECT - id, v, cat, ok FROM items) s WHERE cat = 3 AND ok ORDER BY v <#> $q LIMIT 20',
	'SELECT u.id, n.id FROM users u, LATERAL (SELECT id FROM items WHERE cat = u.cat AND price < u.id * 20 ORDER BY v <#> u.v LIMIT 4) n WHERE u.v IS NOT NULL ORDER BY u.id',
	'SELECT u.id, n.id FROM users u LEFT JOIN LATERAL (SELECT id FROM items WHERE cat = ANY (u.cats) AND ok ORDER BY v <#> $q LIMIT 4) n ON true ORDER BY u.id',
	'WITH best AS (SELECT id, cat FROM items WHERE cat < 3 AND ok ORDER BY v <#> $q LIMIT 20) SELECT id FROM best WHERE cat = 1',
	'WITH best AS MATERIALIZED (SELECT id, v <#> $q AS d FROM items WHERE ok AND price < 70 ORDER BY d LIMIT 20) SELECT a.id, b.id FROM best a JOIN best b ON a.id < b.id ORDER BY a.d, b.d LIMIT 30']) WITH ORDINALITY u (query, i),
	pg_temp.try(query) t ORDER BY i;

-- partial indexes
CREATE INDEX items_ok ON items USING @am@ (v vector_l2_ops, price) WHERE ok;
CREATE INDEX items_dear ON items USING @am@ (v vector_cosine_ops, price, ok) WHERE price > 20 AND cat IS NOT NULL;
SELECT query, t.* FROM unnest(ARRAY[
	'ok AND price < 30 ORDER BY v <-> $q', 'ok AND price < 30 AND cat = 2 ORDER BY v <-> $q', 'ok ORDER BY v <-> $q', 'price < 30 ORDER BY v <-> $q', 'ok IS NOT NULL ORDER BY v <-> $q',
	'ok AND price > 10 AND NOT ok ORDER BY v <-> $q',
	'price > 60 AND cat = 3 ORDER BY v <=> $q', 'price > 60 AND cat = 3 AND ok ORDER BY v <=> $q', 'price > 10 AND cat = 3 ORDER BY v <=> $q', 'price > 60 ORDER BY v <=> $q']) WITH ORDINALITY u (query, i),
	pg_temp.try('SELECT id FROM items WHERE ' || query) t ORDER BY i;
UPDATE items SET ok = NOT ok WHERE id % 10 = 0;
SELECT t.* FROM pg_temp.try('SELECT id FROM items WHERE ok AND price < 30 ORDER BY v <-> $q') t;
SELECT recsys.check_index(i) FROM unnest('{items_ok,items_dear}'::regclass[]) i;
DROP INDEX items_ok, items_dear;

-- expressions as filter columns
CREATE INDEX items_expr ON items USING @am@ (v vector_l2_ops, (id % 10), lower(word), (price > 50));
ANALYZE items;
SELECT query, t.* FROM unnest(ARRAY['id % 10 < 3', 'lower(word) = ''word 2'' AND id % 10 = ANY (''{2,7}'')', 'price > 50 AND id % 10 = 3', 'NOT (price > 50) AND ok']) WITH ORDINALITY u (query, i),
	pg_temp.try('SELECT id FROM items WHERE ' || query || ' ORDER BY v <-> $q') t ORDER BY i;
DROP INDEX items_expr;

-- partitions, one of them with its columns in another order, one with a dropped one
CREATE TABLE parts (id int, cat int, ok bool, price float8, v vector(16)) PARTITION BY LIST (cat);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN (0, 1, 2);
CREATE TABLE parts_b (v vector(16), gone text, price float8, id int, ok bool, cat int);
ALTER TABLE parts_b DROP COLUMN gone;
ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN (3, 4);
CREATE INDEX parts_v ON parts USING @am@ (v, price, ok, cat);
CREATE TABLE parts_c PARTITION OF parts DEFAULT PARTITION BY RANGE (price);
CREATE TABLE parts_c1 PARTITION OF parts_c FOR VALUES FROM (0) TO (50);
CREATE TABLE parts_c2 PARTITION OF parts_c FOR VALUES FROM (50) TO (100);
INSERT INTO parts SELECT id, cat, ok, price, v FROM items;
ANALYZE parts;
PREPARE part(int[], vector, int) AS SELECT id FROM parts WHERE cat = ANY ($1) AND ok ORDER BY v <#> $2 LIMIT $3;
SELECT query, t.* FROM unnest(ARRAY[
	'SELECT id FROM parts WHERE price < 70 AND ok ORDER BY v <#> $q LIMIT 10', 'SELECT id FROM parts WHERE price < 30 ORDER BY v <#> $q',
	'SELECT id FROM parts WHERE cat = 3 AND price < 50 ORDER BY v <#> $q LIMIT 10', 'SELECT id FROM parts WHERE cat = ANY (''{1,3}'') ORDER BY v <#> $q LIMIT 100',
	'SELECT id FROM parts WHERE cat IS NULL AND ok ORDER BY v <#> $q', 'SELECT id FROM parts WHERE price = 12345 ORDER BY v <#> $q',
	'SELECT id FROM parts p WHERE ok AND NOT EXISTS (SELECT FROM seen s WHERE s.user_id = 1 AND s.item_id = p.id) ORDER BY v <#> $q LIMIT 10',
	'SELECT id FROM parts WHERE cat = (SELECT 3) AND ok ORDER BY v <#> $q LIMIT 30',
	'SELECT u.id, n.id FROM users u, LATERAL (SELECT id FROM parts WHERE cat = u.cat ORDER BY v <#> $q LIMIT 4) n ORDER BY u.id']) WITH ORDINALITY u (query, i),
	pg_temp.try(query) t ORDER BY i;
SET plan_cache_mode = force_generic_plan;
SELECT args, t.* FROM unnest(ARRAY['''{1,3}''', '''{NULL,4,5}''', '''{}''', 'NULL']) WITH ORDINALITY u (args, i),
	pg_temp.try(format('EXECUTE part(%s, $q, 30)', args), format('SELECT id FROM parts WHERE cat = ANY (%s) AND ok ORDER BY v <#> $q LIMIT 30', args)) t ORDER BY i;
RESET plan_cache_mode;
-- from one partition to another
UPDATE parts SET cat = 4 WHERE cat = 1;
SELECT t.* FROM unnest(ARRAY['cat = 4', 'cat = 1', 'price < 30']) cond, pg_temp.try('SELECT id FROM parts WHERE ' || cond || ' ORDER BY v <#> $q') t;
SELECT recsys.check_index(inhrelid) FROM pg_inherits WHERE inhparent = 'parts_v'::regclass AND inhrelid <> 'parts_c_v_price_ok_cat_idx'::regclass;
DROP TABLE parts;

-- who may not see a row does not, whether or not its condition is checked first
CREATE ROLE regress_recsys_reader;
CREATE FUNCTION leaky(x float8) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	IF x >= 50 THEN RAISE 'leaked %', x; END IF;
	RETURN true;
END $$;
CREATE VIEW cheap WITH (security_barrier) AS SELECT * FROM items WHERE price < 50;
GRANT SELECT ON items, seen, users, cats, cheap TO regress_recsys_reader;
SELECT query, t.* FROM unnest(ARRAY['cat = 3 ORDER BY v <#> $q', 'leaky(price) AND ok ORDER BY v <#> $q LIMIT 20', 'tags && ''{a1}'' ORDER BY v <#> $q', 'cat = ANY (''{2,3}'') AND word = ''word 1'' AND leaky(price) ORDER BY v <#> $q']) WITH ORDINALITY u (query, i),
	pg_temp.try('SELECT id FROM cheap WHERE ' || query) t ORDER BY i;
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON items TO regress_recsys_reader USING (price < 50 AND cat = ANY (string_to_array(current_setting('filter_test.cats', true), ',')::int[]));
SET ROLE regress_recsys_reader;
SET filter_test.cats = '1,2,3';
SELECT query, t.* FROM unnest(ARRAY['true ORDER BY v <#> $q', 'ok ORDER BY v <#> $q LIMIT 20', 'cat = 3 ORDER BY v <#> $q', 'cat = 4 ORDER BY v <#> $q', 'cat = ANY (''{2,3,4}'') ORDER BY v <#> $q', 'tags && ''{a1}'' ORDER BY v <#> $q',
	'leaky(price) AND ok ORDER BY v <#> $q LIMIT 20']) WITH ORDINALITY u (query, i),
	pg_temp.try('SELECT id FROM items WHERE ' || query) t ORDER BY i;
SELECT t.* FROM pg_temp.try('SELECT id FROM items i WHERE ok AND NOT EXISTS (SELECT FROM seen s WHERE s.user_id = 1 AND s.item_id = i.id) ORDER BY v <#> $q LIMIT 10') t;
SET filter_test.cats = '';
SELECT t.* FROM pg_temp.try('SELECT id FROM items WHERE ok ORDER BY v <#> $q LIMIT 10') t;
RESET ROLE;
DROP POLICY few ON items;
ALTER TABLE items DISABLE ROW LEVEL SECURITY;
DROP VIEW cheap;

-- a transaction sees its own changes, and none that it takes back
CREATE FUNCTION pg_temp.state() RETURNS TABLE (cond text, rows bigint, same bool) LANGUAGE sql AS $$
	SELECT cond, t.rows, t.same AND t.scans = 'items_v cond' OR NULL FROM unnest(ARRAY['cat = 1', 'cat = 77', 'cat IS NULL', 'price < 10', 'tags && ''{new}''']) cond,
		pg_temp.try('SELECT id FROM items WHERE ' || cond || ' ORDER BY v <#> $q') t $$;
SELECT * FROM pg_temp.state();
BEGIN;
UPDATE items SET cat = 77 WHERE cat = 1;
SELECT * FROM pg_temp.state();
SAVEPOINT one;
UPDATE items SET cat = NULL, tags = tags || '{new}' WHERE cat = 77 AND price < 50;
SELECT * FROM pg_temp.state();
ROLLBACK TO one;
SELECT * FROM pg_temp.state();
UPDATE items SET cat = 1 WHERE cat = 77 AND ok;
DELETE FROM items WHERE price < 5;
INSERT INTO items (id, cat, price, v) SELECT i, 77, 0, pg_temp.noise(i, 16) FROM generate_series(1001, 1020) i;
SELECT * FROM pg_temp.state();
ROLLBACK;
SELECT * FROM pg_temp.state();
UPDATE items SET cat = 77 WHERE cat = 1;
SELECT * FROM pg_temp.state();
SELECT recsys.check_index('items_v');
VACUUM items;
SELECT * FROM pg_temp.state();

-- cursors: in parts, backwards, and as the table was when they were opened
SET enable_seqscan = off;
SET enable_sort = off;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items WHERE cat = 77 ORDER BY v <#> pg_temp.noise(-1, 16);
DECLARE s SCROLL CURSOR FOR SELECT id FROM items WHERE cat = 2 AND ok ORDER BY v <#> pg_temp.noise(-1, 16);
FETCH 3 FROM c;
FETCH 2 FROM c;
FETCH 4 FROM s;
FETCH BACKWARD 2 FROM s;
UPDATE items SET cat = 2 WHERE cat = 77;
MOVE 50 FROM c;
FETCH ALL FROM c;
FETCH 1 FROM c;
MOVE ALL FROM s;
FETCH PRIOR FROM s;
FETCH ABSOLUTE 2 FROM s;
CLOSE c;
CLOSE s;
ROLLBACK;
-- all rows, once each, in order, whatever is fetched at a time
CREATE FUNCTION pg_temp.fetch_all(query text, step int) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	ids int[] := '{}'; r record; n int;
BEGIN
	EXECUTE 'DECLARE parts CURSOR FOR ' || query;
	LOOP
		n := cardinality(ids);
		FOR r IN EXECUTE format('FETCH %s FROM parts', step) LOOP ids := ids || r.id; END LOOP;
		EXIT WHEN cardinality(ids) = n;
	END LOOP;
	EXECUTE 'CLOSE parts';
	RETURN ids;
END $$;
SELECT step, cardinality(ids), ids = ARRAY(SELECT id FROM items WHERE price < 60 AND ok ORDER BY (v <#> pg_temp.noise(-1, 16)) + 0) AS same
FROM unnest('{1,7,100,1000}'::int[]) step, pg_temp.fetch_all('SELECT id FROM items WHERE price < 60 AND ok ORDER BY v <#> pg_temp.noise(-1, 16)', step) ids;
RESET enable_seqscan;
RESET enable_sort;

-- An index that looks at a part of its rows: rows may be missed, but they are
-- as many as there are, up to the LIMIT, satisfy the condition, come once and,
-- as long as not nearly all are asked for, in order.
CREATE TABLE more (id int PRIMARY KEY, a int, b int, c bool, t text[], v vector(16));
INSERT INTO more SELECT i, i % 100, i / 100, nullif(i % 4, 3) = 1, ARRAY['t' || i % 30, 't' || i % 7], pg_temp.noise(i, 16) FROM generate_series(1, 5000) i;
@hnsw@CREATE INDEX more_v ON more USING recsys_hnsw (v, a, b, c, t);
@hnsw@RESET recsys.hnsw_ef_search;
@ivfpq@CREATE INDEX more_v ON more USING recsys_ivfpq (v, a, b, c, t) WITH (lists = 40);
@ivfpq@SET recsys.ivfpq_probes = 1;
ANALYZE more;
SET enable_seqscan = off;
SET enable_sort = off;
CREATE FUNCTION pg_temp.sound(cond text, want int, OUT matching bigint, OUT sound bool) LANGUAGE plpgsql AS $$
DECLARE
	r record; last float8 := '-infinity'; ids int[] := '{}'; fit bool := true; ordered bool := true; n int;
BEGIN
	FOR n IN 1..5 LOOP
		ids := '{}';
		last := '-infinity';
		FOR r IN EXECUTE format('SELECT id, v <#> %1$L AS d, (%2$s) IS TRUE AS fits FROM more WHERE %2$s ORDER BY v <#> %1$L LIMIT %3$s', pg_temp.noise(-n, 16), cond, want) LOOP
			fit := fit AND r.fits;
			ordered := ordered AND r.d >= last;
			last := r.d;
			ids := ids || r.id;
		END LOOP;
		EXECUTE 'SELECT count(*) FROM more WHERE ' || cond INTO matching;
		sound := coalesce(sound, true) AND fit AND cardinality(ids) = least(want, matching) AND
			(ordered OR want >= matching / 2) AND (SELECT count(DISTINCT i) = count(i) FROM unnest(ids) i);
	END LOOP;
END $$;
SELECT cond, want, t.* FROM unnest(ARRAY['true', 'a < 50', 'a = ANY (''{1,5,7,50}'')', 'b = 7', 'a = 7 AND b < 10', 'c', 'c IS NULL AND a > 90', 't && ''{t1,t29}''', 't @> ''{t3,t4}''', 'a < 50 AND id % 3 = 0', 'a = 1 AND a = 2']) WITH ORDINALITY u (cond, i),
	unnest('{1,10,100,10000}'::int[]) want, pg_temp.sound(cond, want) t ORDER BY i, want;
SELECT count(*) FROM (SELECT id FROM more WHERE a < 50 ORDER BY v <#> pg_temp.noise(-1, 16) LIMIT 10) s;
SELECT index, visited < 5000 AS a_part FROM recsys.last_scan();
RESET enable_seqscan;
RESET enable_sort;

DROP TABLE items, seen, users, cats, more;
DROP FUNCTION leaky;
DROP ROLE regress_recsys_reader;

-- recsys_hnsw: options of an index, and what the access method does not do
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

-- SQLSTATE, message and hint of what a statement raises
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

-- options
CREATE TABLE options (id int, a real[], v vector(3));
INSERT INTO options SELECT i, pg_temp.noise(i, 3)::real[], pg_temp.noise(i, 3) FROM generate_series(1, 50) i;
SELECT value, pg_temp.error_of(format('CREATE INDEX ON options USING recsys_hnsw (v) WITH (%s)', value))
FROM unnest('{ef_construction = 39,ef_construction = 40,ef_construction = 1000,ef_construction = 1001,
	ef_construction = many,m = 16,fillfactor = 70}'::text[]) value;
ALTER INDEX options_v_idx SET (ef_construction = 200);
SELECT reloptions FROM pg_class WHERE relname = 'options_v_idx';
SELECT pg_temp.error_of('ALTER INDEX options_v_idx SET (ef_construction = 5)');
ALTER INDEX options_v_idx RESET (ef_construction);

-- what the access method does not do
SELECT pg_temp.error_of('CREATE UNIQUE INDEX ON options USING recsys_hnsw (v)');
SELECT pg_temp.error_of('CREATE INDEX ON options USING recsys_hnsw (v, v)');
SELECT pg_temp.error_of('CREATE INDEX ON options USING recsys_hnsw (v) INCLUDE (v)');
SELECT pg_temp.error_of('CREATE INDEX ON options USING recsys_hnsw (v DESC)');
SELECT pg_temp.error_of('CREATE INDEX ON options USING recsys_hnsw (id)');
SELECT pg_temp.error_of('CREATE INDEX ON options USING recsys_hnsw (a)');
SELECT pg_temp.error_of('CLUSTER options USING options_v_idx');
-- since 17 with schemas
SELECT replace(pg_temp.error_of('ALTER TABLE options ADD EXCLUDE USING recsys_hnsw (v WITH <#>)'), 'public.', '') AS error_of;
SELECT p, pg_index_column_has_property('options_v_idx'::regclass, 1, p) FROM unnest('{orderable,returnable,search_array,search_nulls}'::text[]) p
UNION ALL
SELECT p, pg_index_has_property('options_v_idx'::regclass, p) FROM unnest('{clusterable,index_scan,bitmap_scan,backward_scan}'::text[]) p
UNION ALL
SELECT p, pg_indexam_has_property((SELECT oid FROM pg_am WHERE amname = 'recsys_hnsw'), p) FROM unnest('{can_order,can_unique,can_multi_col,can_exclude,can_include}'::text[]) p;

DROP TABLE options;

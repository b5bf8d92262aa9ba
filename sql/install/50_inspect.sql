-- Looking in: what an index holds, how much it finds, whether it is whole.
-- The functions check the rights of their caller themselves.

CREATE FUNCTION recsys.index_stats(index regclass,
	OUT metric text, OUT dimensions integer, OUT rows bigint,
	OUT nodes bigint, OUT levels integer, OUT entries integer,
	OUT long_nodes bigint, OUT tombstones bigint, OUT free_slots bigint, OUT postings bigint,
	OUT bytes_per_node integer, OUT average_degree double precision,
	OUT unreachable bigint, OUT no_incoming bigint,
	OUT radius double precision, OUT pages bigint, OUT size_bytes bigint)
	AS 'MODULE_PATHNAME', 'recsys_index_stats'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION recsys.index_stats(regclass) IS 'what an index of recsys_hnsw holds';

CREATE FUNCTION recsys.ivfpq_stats(index regclass,
	OUT metric text, OUT dimensions integer, OUT rows bigint,
	OUT lists integer, OUT empty_lists integer, OUT largest_list bigint,
	OUT trained boolean, OUT sample bigint, OUT subquantizers integer,
	OUT rotation text, OUT refine text, OUT bytes_per_row double precision,
	OUT free_slots bigint, OUT list_pages bigint, OUT tape_pages bigint,
	OUT free_pages bigint, OUT radius double precision,
	OUT pages bigint, OUT size_bytes bigint)
	AS 'MODULE_PATHNAME', 'recsys_ivfpq_stats'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION recsys.ivfpq_stats(regclass) IS 'what an index of recsys_ivfpq holds';

CREATE FUNCTION recsys.last_scan(OUT index regclass, OUT strategy text,
	OUT rows bigint, OUT visited bigint, OUT filtered_out bigint,
	OUT refined bigint, OUT lists bigint)
	AS 'MODULE_PATHNAME', 'recsys_last_scan'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION recsys.last_scan() IS 'what the last index scan of this session has done';

-- Indexes that have been dropped may still be among the counts.
CREATE FUNCTION recsys.stat_index_counts(OUT index oid, OUT scans bigint,
	OUT rows bigint, OUT visited bigint, OUT filtered_out bigint,
	OUT refined bigint, OUT lists bigint, OUT graph_scans bigint,
	OUT lists_scans bigint, OUT exact_scans bigint, OUT shared boolean,
	OUT stats_reset timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'recsys_stat_index'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION recsys.stat_index_counts() IS 'the counts behind recsys.stat_index';

CREATE VIEW recsys.stat_index AS
	SELECT s.index::regclass, a.amname AS method, s.scans, s.rows, s.visited,
		s.filtered_out, s.refined, s.lists, s.graph_scans, s.lists_scans,
		s.exact_scans, s.shared, s.stats_reset
	FROM recsys.stat_index_counts() s
		JOIN pg_catalog.pg_class c ON c.oid = s.index
		JOIN pg_catalog.pg_am a ON a.oid = c.relam
	WHERE a.amname IN ('recsys_hnsw', 'recsys_ivfpq');
COMMENT ON VIEW recsys.stat_index IS 'what all index scans of this database have done';
GRANT SELECT ON recsys.stat_index TO PUBLIC;

CREATE FUNCTION recsys.stat_index_reset() RETURNS void
	AS 'MODULE_PATHNAME', 'recsys_stat_index_reset'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION recsys.stat_index_reset() IS 'let recsys.stat_index count from 0 again, in this database';
REVOKE ALL ON FUNCTION recsys.stat_index_reset() FROM PUBLIC;

CREATE FUNCTION recsys.index_recall(index regclass, queries @extschema@.vector[], k integer)
	RETURNS double precision
	AS 'MODULE_PATHNAME', 'recsys_index_recall'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000000;
COMMENT ON FUNCTION recsys.index_recall(regclass, @extschema@.vector[], integer) IS 'share of the true k nearest rows that an index finds';

CREATE FUNCTION recsys.index_recall(index regclass, k integer DEFAULT 10, samples integer DEFAULT 100)
	RETURNS double precision
	AS 'MODULE_PATHNAME', 'recsys_index_recall_sample'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000000;
COMMENT ON FUNCTION recsys.index_recall(regclass, integer, integer) IS 'the same, with the vectors of some of the rows as queries';

CREATE FUNCTION recsys.check_index(index regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'recsys_check_index'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION recsys.check_index(regclass) IS 'error at the first fault of an index of recsys_hnsw or recsys_ivfpq';


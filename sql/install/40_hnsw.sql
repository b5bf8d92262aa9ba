-- The access method recsys_hnsw and its operator classes

CREATE FUNCTION recsys.hnsw_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME', 'recsys_hnsw_handler' LANGUAGE C;

CREATE ACCESS METHOD recsys_hnsw TYPE INDEX HANDLER recsys.hnsw_handler;

COMMENT ON ACCESS METHOD recsys_hnsw IS
	'graph index for maximum inner product, Euclidean and cosine search';

CREATE OPERATOR CLASS @extschema@.vector_ip_ops
	DEFAULT FOR TYPE @extschema@.vector USING recsys_hnsw AS
	OPERATOR 1 @extschema@.<#> (@extschema@.vector, @extschema@.vector)
		FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 recsys.metric_ip();

CREATE OPERATOR CLASS @extschema@.vector_l2_ops
	FOR TYPE @extschema@.vector USING recsys_hnsw AS
	OPERATOR 1 @extschema@.<-> (@extschema@.vector, @extschema@.vector)
		FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 recsys.metric_l2();

CREATE OPERATOR CLASS @extschema@.vector_cosine_ops
	FOR TYPE @extschema@.vector USING recsys_hnsw AS
	OPERATOR 1 @extschema@.<=> (@extschema@.vector, @extschema@.vector)
		FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 recsys.metric_cosine();


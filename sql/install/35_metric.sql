-- What an operator class ranks by, for the access methods

CREATE FUNCTION recsys.metric_ip() RETURNS int
	AS 'MODULE_PATHNAME', 'recsys_metric_ip'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION recsys.metric_l2() RETURNS int
	AS 'MODULE_PATHNAME', 'recsys_metric_l2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION recsys.metric_cosine() RETURNS int
	AS 'MODULE_PATHNAME', 'recsys_metric_cosine'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

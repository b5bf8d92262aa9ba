-- Models: their tables, which nobody but the extension's owner can read or
-- write, and the functions and views through which the others use them.  See
-- src/tower/README.md.  The functions read and write rows as the server does
-- with its catalogs, by the order of the columns; heap is the only access
-- method that this works with.

CREATE SEQUENCE recsys.model_id_seq;

CREATE TABLE recsys.model (
	id		bigint NOT NULL PRIMARY KEY,
	name	text COLLATE "C" NOT NULL UNIQUE,
	owner	name NOT NULL,
	grantees name[] NOT NULL,		-- who may embed; public is everybody
	active	integer,				-- version
	latest	integer NOT NULL		-- the last version number given
) USING heap;

CREATE TABLE recsys.model_version (
	model	bigint NOT NULL,
	version	integer NOT NULL,
	file	bigint NOT NULL UNIQUE,
	bytes	bigint NOT NULL,
	towers	jsonb NOT NULL,			-- what the views show
	imported_by name NOT NULL,
	imported_at timestamptz NOT NULL,
	PRIMARY KEY (model, version)
) USING heap;

-- The file as it was imported, in parts of 1 MB.
CREATE TABLE recsys.model_part (
	file	bigint NOT NULL,
	part	integer NOT NULL,
	data	bytea NOT NULL,
	PRIMARY KEY (file, part)
) USING heap;
ALTER TABLE recsys.model_part ALTER COLUMN data SET STORAGE EXTERNAL;

REVOKE ALL ON SEQUENCE recsys.model_id_seq FROM PUBLIC;
REVOKE ALL ON recsys.model, recsys.model_version, recsys.model_part FROM PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('recsys.model_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.model', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.model_version', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.model_part', '');

CREATE FUNCTION recsys.import_model(name text, file bytea, activate boolean DEFAULT true)
	RETURNS integer
	AS 'MODULE_PATHNAME', 'recsys_import_model' LANGUAGE C STRICT;
COMMENT ON FUNCTION recsys.import_model(text, bytea, boolean) IS 'import a safetensors file as the next version of a model';
REVOKE ALL ON FUNCTION recsys.import_model(text, bytea, boolean) FROM PUBLIC;

CREATE FUNCTION recsys.drop_model(model text) RETURNS void
	AS 'MODULE_PATHNAME', 'recsys_drop_model' LANGUAGE C STRICT;
COMMENT ON FUNCTION recsys.drop_model(text) IS 'drop a model, or one version of it as model@version';

CREATE FUNCTION recsys.set_active(model text, version integer) RETURNS void
	AS 'MODULE_PATHNAME', 'recsys_set_active' LANGUAGE C STRICT;
COMMENT ON FUNCTION recsys.set_active(text, integer) IS 'choose the version that the name of a model means';

CREATE FUNCTION recsys.verify_model(model text) RETURNS double precision
	AS 'MODULE_PATHNAME', 'recsys_verify_model' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION recsys.verify_model(text) IS 'run the golden rows of a model; returns the largest absolute error';

CREATE FUNCTION recsys.grant_model(model text, role name) RETURNS void
	AS 'MODULE_PATHNAME', 'recsys_grant_model' LANGUAGE C STRICT;
COMMENT ON FUNCTION recsys.grant_model(text, name) IS 'let a role, or public, embed with a model';

CREATE FUNCTION recsys.revoke_model(model text, role name) RETURNS void
	AS 'MODULE_PATHNAME', 'recsys_revoke_model' LANGUAGE C STRICT;
COMMENT ON FUNCTION recsys.revoke_model(text, name) IS 'undo grant_model';

CREATE FUNCTION recsys.set_model_owner(model text, role name) RETURNS void
	AS 'MODULE_PATHNAME', 'recsys_set_model_owner' LANGUAGE C STRICT;
COMMENT ON FUNCTION recsys.set_model_owner(text, name) IS 'give a model to another role';

CREATE FUNCTION recsys.has_model_privilege(model text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'recsys_has_model_privilege' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION recsys.has_model_privilege(text) IS 'may the current user embed with a model?';

CREATE FUNCTION recsys.embed(model text, features record) RETURNS @extschema@.vector
	AS 'MODULE_PATHNAME', 'recsys_embed_record' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION recsys.embed(text, record) IS 'run a tower on the columns of a row';

CREATE FUNCTION recsys.embed(model text, features jsonb) RETURNS @extschema@.vector
	AS 'MODULE_PATHNAME', 'recsys_embed_jsonb' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION recsys.embed(text, jsonb) IS 'run a tower on the fields of a JSON object';

CREATE FUNCTION recsys.embed_batch(model text, features record) RETURNS @extschema@.vector
	AS 'MODULE_PATHNAME', 'recsys_embed_batch_record' LANGUAGE C WINDOW STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION recsys.embed_batch(text, record) IS 'run a tower on the columns of the rows of a window, many at a time';

CREATE FUNCTION recsys.embed_batch(model text, features jsonb) RETURNS @extschema@.vector
	AS 'MODULE_PATHNAME', 'recsys_embed_batch_jsonb' LANGUAGE C WINDOW STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION recsys.embed_batch(text, jsonb) IS 'run a tower on JSON objects of the rows of a window, many at a time';

-- Sessions learn of rows that were not written by these functions, but by a
-- restore or by logical replication.
CREATE FUNCTION recsys.model_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'recsys_model_changed' LANGUAGE C;
COMMENT ON FUNCTION recsys.model_changed() IS 'trigger: let all sessions look at the models anew';
CREATE TRIGGER model_changed AFTER INSERT OR UPDATE OR DELETE ON recsys.model
	FOR EACH ROW EXECUTE FUNCTION recsys.model_changed();
ALTER TABLE recsys.model ENABLE ALWAYS TRIGGER model_changed;

CREATE VIEW recsys.models WITH (security_barrier) AS
	SELECT m.name, v.version, v.version IS NOT DISTINCT FROM m.active AS active,
		array(SELECT t OPERATOR(pg_catalog.->>) 'name' FROM pg_catalog.jsonb_array_elements(v.towers) t) AS towers,
		m.owner, m.grantees, v.bytes, v.imported_by, v.imported_at
	FROM recsys.model m JOIN recsys.model_version v ON v.model = m.id
	WHERE recsys.has_model_privilege(m.name)
	ORDER BY m.name, v.version;
COMMENT ON VIEW recsys.models IS 'the versions of the models that the current user may use';

CREATE VIEW recsys.model_features WITH (security_barrier) AS
	SELECT m.name AS model, v.version, t.tower OPERATOR(pg_catalog.->>) 'name' AS tower,
		(t.tower OPERATOR(pg_catalog.->>) 'dim')::integer AS output_dim,
		f.position::integer, f.feature OPERATOR(pg_catalog.->>) 'name' AS feature,
		f.feature OPERATOR(pg_catalog.->>) 'type' AS type, (f.feature OPERATOR(pg_catalog.->>) 'dim')::integer AS dim,
		f.feature OPERATOR(pg_catalog.->) 'default' AS "default",
		coalesce(f.feature OPERATOR(pg_catalog.->>) 'null_elements', 'error') AS null_elements
	FROM recsys.model m JOIN recsys.model_version v ON v.model = m.id,
		pg_catalog.jsonb_array_elements(v.towers) AS t (tower),
		pg_catalog.jsonb_array_elements(t.tower OPERATOR(pg_catalog.->) 'features')
			WITH ORDINALITY AS f (feature, position)
	WHERE recsys.has_model_privilege(m.name)
	ORDER BY m.name, v.version, 3, f.position;
COMMENT ON VIEW recsys.model_features IS 'the features of the models that the current user may use';

GRANT SELECT ON recsys.models, recsys.model_features TO PUBLIC;


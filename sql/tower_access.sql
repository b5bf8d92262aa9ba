-- Who may do what with models.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir /test/tower/helpers.sql
\i :helpers
\set ECHO all

CREATE FUNCTION pg_temp.constant(n integer) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.model(pg_temp.spec('[{"name": "x", "type": "float"}]',
		'[{"op": "linear", "inputs": ["x"], "output": "y", "layout": "out_in", "tensors": {"weight": "w"}}]'),
		jsonb_build_object('w', jsonb_build_object('shape', '[1, 1]'::jsonb, 'x', jsonb_build_array(n))),
		jsonb_build_object('', jsonb_build_array(jsonb_build_object('features', '{"x": 1}'::jsonb, 'output', jsonb_build_array(n)))))
$$;
SELECT pg_temp.constant(1) AS one, pg_temp.constant(2) AS two \gset
CREATE ROLE recsys_trainers;
CREATE ROLE recsys_alice IN ROLE recsys_trainers;
CREATE ROLE recsys_bob IN ROLE recsys_trainers;
CREATE ROLE recsys_app;
CREATE ROLE recsys_web IN ROLE recsys_app;
CREATE ROLE recsys_stranger;

-- nobody imports without a grant, and nobody touches the tables
SET ROLE recsys_alice;
SELECT recsys.import_model('alice', :'one');
RESET ROLE;
GRANT EXECUTE ON FUNCTION recsys.import_model TO recsys_trainers;
SET ROLE recsys_alice;
SELECT recsys.import_model('alice', :'one');
SELECT count(*) FROM recsys.model;
SELECT count(*) FROM recsys.model_version;
SELECT count(*) FROM recsys.model_part;
SELECT nextval('recsys.model_id_seq');
INSERT INTO recsys.model_part VALUES (1, 1, '');
UPDATE recsys.model SET owner = 'recsys_alice';
CREATE TABLE recsys.t ();

-- the owner may do all
SELECT recsys.embed('alice', '{"x": 5}'::jsonb), recsys.verify_model('alice');
SELECT recsys.import_model('alice', :'two', false);
SELECT name, version, active, owner, imported_by FROM recsys.models;

-- others see nothing, and can do nothing
SET ROLE recsys_bob;
SELECT name FROM recsys.models;
SELECT feature FROM recsys.model_features;
SELECT recsys.has_model_privilege('alice');
SELECT recsys.has_model_privilege('none');
SELECT recsys.embed('alice', '{"x": 5}'::jsonb);
SELECT recsys.embed('alice@2', r) FROM (SELECT 1.0 AS x) r;
SELECT recsys.verify_model('alice');
SELECT recsys.import_model('alice', :'two');
SELECT recsys.set_active('alice', 2);
SELECT recsys.drop_model('alice@2');
SELECT recsys.drop_model('alice');
SELECT recsys.grant_model('alice', 'recsys_bob');
SELECT recsys.revoke_model('alice', 'recsys_bob');
SELECT recsys.set_model_owner('alice', 'recsys_bob');

-- a grant lets a role and its members embed, and no more
SET ROLE recsys_alice;
SELECT recsys.grant_model('alice', 'recsys_app');
SELECT recsys.grant_model('alice', 'recsys_app');
SELECT recsys.grant_model('alice', 'recsys_nobody');
SELECT recsys.grant_model('alice@1', 'recsys_app');
SELECT DISTINCT grantees FROM recsys.models;
SET ROLE recsys_web;
SELECT recsys.embed('alice', '{"x": 5}'::jsonb), recsys.has_model_privilege('alice');
SELECT name, version FROM recsys.models;
SELECT model, feature FROM recsys.model_features;
SELECT recsys.set_active('alice', 2);
SELECT recsys.import_model('mine', :'one');
SELECT count(*) FROM recsys.model_part;
-- the same backend as another role: what is cached does not leak
SET ROLE recsys_stranger;
SELECT recsys.embed('alice', '{"x": 5}'::jsonb);
PREPARE ask AS SELECT recsys.embed('alice', '{"x": 5}'::jsonb);
SET ROLE recsys_web;
EXECUTE ask;
SET ROLE recsys_stranger;
EXECUTE ask;
-- public
SET ROLE recsys_alice;
SELECT recsys.grant_model('alice', 'public');
SET ROLE recsys_stranger;
EXECUTE ask;
SET ROLE recsys_alice;
SELECT recsys.revoke_model('alice', 'public');
SET ROLE recsys_stranger;
EXECUTE ask;
SET ROLE recsys_alice;
SELECT recsys.revoke_model('alice', 'recsys_app');
SELECT recsys.revoke_model('alice', 'recsys_app');
SET ROLE recsys_web;
EXECUTE ask;

-- a function of the owner lends the privilege
SET ROLE recsys_alice;
RESET ROLE;
CREATE FUNCTION lend(x float8) RETURNS vector LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ SELECT recsys.embed('alice', pg_catalog.jsonb_build_object('x', x)) $$;
ALTER FUNCTION lend OWNER TO recsys_alice;
SET ROLE recsys_stranger;
SELECT lend(7);
-- a hostile search path changes nothing
RESET ROLE;
CREATE SCHEMA evil;
GRANT ALL ON SCHEMA evil TO recsys_stranger;
SET ROLE recsys_stranger;
CREATE FUNCTION evil.fake(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.fake);
CREATE TABLE evil.model (id bigint, name text, owner name, grantees name[], active integer, latest integer);
SET search_path = evil, pg_catalog, public;
SELECT recsys.embed('alice', '{"x": 5}'::jsonb);
SELECT name FROM recsys.models;
RESET search_path;

-- giving away: to a role that one is in
SET ROLE recsys_alice;
SELECT recsys.set_model_owner('alice', 'recsys_bob');
SELECT recsys.set_model_owner('alice', 'public');
SELECT recsys.set_model_owner('alice', 'recsys_trainers');
SELECT recsys.embed('alice', '{"x": 5}'::jsonb);
SET ROLE recsys_bob;
SELECT recsys.set_active('alice', 2), recsys.embed('alice', '{"x": 5}'::jsonb);
-- a superuser may do all
RESET ROLE;
SELECT recsys.set_model_owner('alice', 'recsys_bob');
SET ROLE recsys_alice;
SELECT recsys.embed('alice', '{"x": 5}'::jsonb);
RESET ROLE;
-- a role that is gone
DROP FUNCTION lend;
DROP SCHEMA evil CASCADE;
REVOKE EXECUTE ON FUNCTION recsys.import_model FROM recsys_trainers;
DROP ROLE recsys_alice, recsys_bob, recsys_web, recsys_app, recsys_stranger, recsys_trainers;
SELECT DISTINCT name, owner FROM recsys.models;
SELECT recsys.embed('alice', '{"x": 5}'::jsonb);
SELECT recsys.drop_model('alice');

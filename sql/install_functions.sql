-- How the extension's functions are marked, and who may run them.
CREATE VIEW members AS
	SELECT p.*, p.oid::regprocedure AS signature FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
	WHERE e.extname = 'recsys';

-- All are written in C, but for two aggregates: no body that a search path could
-- turn to something else, no setting that hides one, nobody's rights but the
-- caller's, and none that may be run on rows that the caller must not see.
SELECT l.lanname, m.prokind, m.prosecdef, m.proleakproof, m.proconfig, m.prosqlbody IS NULL AS no_body,
	m.probin IS NOT DISTINCT FROM CASE l.lanname WHEN 'c' THEN '$libdir/recsys' END AS our_library,
	m.pronamespace = 'recsys'::regnamespace AS in_recsys, count(*)
FROM members m JOIN pg_language l ON l.oid = m.prolang
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 8;
SELECT signature FROM members WHERE prosecdef AND NOT EXISTS (SELECT FROM unnest(proconfig) c WHERE c LIKE 'search_path=%');

-- who may run them: everybody, but for these
SELECT signature, coalesce(acl.grantee::regrole::text, 'nobody but the owner') AS who
FROM members m LEFT JOIN LATERAL (SELECT * FROM aclexplode(m.proacl) a WHERE a.grantee <> m.proowner) acl ON true
WHERE NOT EXISTS (SELECT FROM aclexplode(coalesce(m.proacl, acldefault('f', m.proowner))) a WHERE a.grantee = 0)
ORDER BY 1;
-- the schema, its tables and views
SELECT nspname, a.grantee::regrole, a.privilege_type FROM pg_namespace n, aclexplode(nspacl) a
WHERE nspname = 'recsys' AND a.grantee <> n.nspowner;
SELECT c.relname, c.relkind, c.reloptions, string_agg(a.privilege_type, ', ') FILTER (WHERE a.grantee = 0) AS everybody,
	string_agg(a.grantee::regrole::text, ', ') FILTER (WHERE a.grantee NOT IN (0, c.relowner)) AS others
FROM pg_class c LEFT JOIN LATERAL aclexplode(c.relacl) a ON true
WHERE c.relnamespace = 'recsys'::regnamespace AND c.relkind <> 'i' GROUP BY 1, 2, 3 ORDER BY 2, 1;
SELECT c.relname, has_schema_privilege('public', t.relnamespace, 'USAGE') AS to_schema, t.relacl
FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.relnamespace = 'recsys'::regnamespace ORDER BY 1;

-- functions of vectors depend on their arguments alone
SELECT provolatile, proparallel, prokind, count(*) FROM members
WHERE pronamespace <> 'recsys'::regnamespace GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT signature FROM members WHERE NOT proisstrict AND prokind = 'f' ORDER BY 1;
-- the others: i(mmutable), s(table), v(olatile); s(afe), r(estricted), u(nsafe)
SELECT signature, provolatile, proparallel, proisstrict FROM members
WHERE pronamespace = 'recsys'::regnamespace ORDER BY 1;
-- what operators and casts call is marked as they need it
SELECT o.oid::regoperator FROM pg_operator o JOIN members m ON m.oid = o.oprcode
WHERE m.provolatile <> 'i' OR m.proparallel <> 's' OR NOT m.proisstrict;
SELECT m.signature FROM pg_cast c JOIN members m ON m.oid = c.castfunc WHERE m.provolatile <> 'i';
DROP VIEW members;

-- What the service finds in its database, after keeper/schema.sql: the group whose members may
-- use the tables. The keeper does the same where it has the database's administrator. Run by the
-- owner of the database, who may make roles (CREATEROLE), before app/tables/*.sql.
CREATE ROLE flask_app_service NOLOGIN;
REVOKE ALL ON DATABASE flask_app FROM PUBLIC;
GRANT CONNECT ON DATABASE flask_app TO flask_app_service;
GRANT USAGE ON SCHEMA public TO flask_app_service;
REVOKE ALL ON public.secret_events FROM flask_app_service;
REVOKE ALL ON public.secret_pods FROM flask_app_service;
GRANT SELECT, INSERT ON public.secret_events TO flask_app_service;
GRANT SELECT, INSERT, UPDATE ON public.secret_pods TO flask_app_service;
-- each table that the owner makes in this schema from now on, such as those of app/tables
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO flask_app_service;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO flask_app_service;
-- two logins, of which one is in use; neither has a password yet, so that nobody can log in
CREATE ROLE notes_1 LOGIN IN ROLE flask_app_service;
CREATE ROLE notes_2 LOGIN IN ROLE flask_app_service;

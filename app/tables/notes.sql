-- A table of the service. Every statement can be run again; the keeper does, on each run, and lets
-- the service select, insert, update and delete in the tables of this folder.
CREATE TABLE IF NOT EXISTS public.notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL CHECK (char_length(text) BETWEEN 1 AND 1000),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The keeper's tables. Every statement can be run again; the keeper does, on each run.

-- What became of the secrets, as the keeper and each pod tell it, so that the page is the same
-- whichever pod answers. Names and numbers, never a value; for people to watch, and no proof.
CREATE TABLE IF NOT EXISTS public.secret_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at timestamptz NOT NULL DEFAULT now(),
    origin text NOT NULL,
    event text NOT NULL,
    generation bigint,
    role text NOT NULL DEFAULT '',
    changed text[] NOT NULL DEFAULT '{}',
    detail text NOT NULL DEFAULT ''
);

CREATE INDEX IF NOT EXISTS secret_events_happened_at ON public.secret_events (happened_at);

-- What each pod had when it answered last.
CREATE TABLE IF NOT EXISTS public.secret_pods (
    name text PRIMARY KEY,
    generation bigint,
    role text NOT NULL,
    verify_keys integer NOT NULL,
    refused text NOT NULL,
    adopted_at timestamptz NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now()
);

-- what nobody looks at any more; when each key was changed last is asked for
DELETE FROM public.secret_events WHERE happened_at < now() - interval '90 days'
    AND id NOT IN (
        SELECT max(id) FROM public.secret_events, unnest(changed) AS key GROUP BY key, event
    );
DELETE FROM public.secret_pods WHERE answered_at < now() - interval '1 day';

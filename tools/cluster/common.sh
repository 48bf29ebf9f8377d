# Sourced by the scripts of this folder. CLUSTER and HTTPS_PORT come from the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export CLUSTER=${CLUSTER:-flask-app}
STATE=.local/cluster/$CLUSTER
# a kubeconfig of its own: the user's, and its current context, are never touched
export KUBECONFIG=$PWD/$STATE/kubeconfig
export HELM_KUBECONTEXT=kind-$CLUSTER

kubectl() { command kubectl --context "kind-$CLUSTER" "$@"; }

# The step that is under way; and where it is shown, the process that counts its seconds, and how
# wide the terminal is.
current='' began=0 counter='' width=80

# Ends the step before with a line, and begins another.
step() {
  settle
  current=$* began=$SECONDS
  is_shown || return 0
  local size
  { size=$(stty size <&3 2>/dev/null); } 3>&1 && width=${size#* } || width=0
  [ "$width" -gt 0 ] || width=80
  # a shell that is ended as soon as it is made would take this trap for its own
  trap - EXIT
  count & counter=$!
  trap ended EXIT
}

# Ends the step that is under way: its line, and a word where it did not end well.
settle() { [ -z "$current" ] || tell "$((SECONDS - began))" "$current${1:+: $1}"; }

# A line of its own in the place of the step that is under way.
tell() {
  uncount
  printf '%5s %1s  %s\n' "$1" "${1:+s}" "$2"
  current=''
}

# Ends the script's last step, and tells what all of them took.
finish() { settle; tell "$SECONDS" 'in all'; }

# Only a terminal can have a line rewritten.
is_shown() { [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; }

# Rewrites the last line every second, until it is told to end, or the script was killed. Without
# a substitution of a command: bash gets confused when a signal comes in the middle of one.
count() {
  local line pause='' over=''
  # Ctrl-C is the script's; bash itself ignores it here most of the time only
  trap '' INT
  trap 'over=1' TERM
  while [ -z "$over" ] && kill -0 $$ 2>/dev/null; do
    printf -v line '%5s s  %s ...' "$((SECONDS - began))" "$current"
    # a line that is longer than the terminal can't be rewritten
    # the signal that ends it may come in the middle, of which bash would complain
    printf '\r%s\033[K' "${line:0:width - 1}" 2>/dev/null
    sleep 1 & pause=$!
    [ -n "$over" ] || wait "$pause" || true
  done
  # not once: a signal to what has not quite begun is lost
  while [ -n "$pause" ] && kill "$pause" 2>/dev/null; do :; done
}

# Until it has gone: then nothing is written over what follows.
uncount() {
  [ -n "$counter" ] || return 0
  kill "$counter" 2>/dev/null || true
  wait "$counter" 2>/dev/null || true
  counter=''
  printf '\r\033[K'
}

# What a script has to do if it does not get to its end.
undo() { :; }

# A signal leaves no status behind. A terminal that has gone keeps nothing from being undone.
ended() {
  if [ $? = 0 ]; then settle interrupted || true; else settle failed || true; fi
  undo
}
trap ended EXIT
# also where a program, as helm does, takes Ctrl-C for a failure of its own
trap 'trap - INT; kill -INT $$' INT

fail() { settle failed; printf '%s\n' "$*" >&2; exit 1; }

# Runs a command that talks too much; what it said is shown when it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || fail "$output"
}

# Names every program that is missing, with its install page, before anything is changed.
require() {
  local program missing=0
  for program in "$@"; do
    type -P "$program" >/dev/null && continue
    missing=1
    case $program in
      docker) echo 'docker is missing: https://docs.docker.com/get-started/get-docker/' ;;
      kind) echo 'kind is missing: https://kind.sigs.k8s.io/docs/user/quick-start/#installation' ;;
      kubectl) echo 'kubectl is missing: https://kubernetes.io/docs/tasks/tools/' ;;
      helm) echo 'helm is missing: https://helm.sh/docs/intro/install/' ;;
    esac >&2
  done
  [ "$missing" = 0 ] || exit 1
  docker info >/dev/null 2>&1 || fail 'Docker does not answer: start it, and see that `docker info` works.'
}

cluster_exists() {
  local clusters
  clusters=$(kind get clusters 2>/dev/null) || fail 'kind does not say which clusters there are: try `kind get clusters`.'
  grep -qx "$CLUSTER" <<<"$clusters"
}

# Whose the cluster is, in words; nothing, if this folder made it, or one that has gone since. The
# node has a file of that folder mounted.
stranger() {
  local file folder of='"/etc/kubernetes/secrets/encryption.yaml"'
  of="{{ range .Mounts }}{{ if eq .Destination $of }}{{ .Source }}{{ end }}{{ end }}"
  file=$(docker inspect --format "$of" "$CLUSTER-control-plane") \
    || fail "Docker does not say who made the cluster $CLUSTER."
  [ -n "$file" ] || { echo 'something else than `make deploy`'; return; }
  # Docker Desktop has this machine's folders in one of its own
  file=${file#/host_mnt} folder=${file%/.local/cluster/*}
  [ ! -d "$folder" ] || [ "$folder" -ef . ] || echo "the folder $folder"
}

# Whether there is one of this folder's to be asked; a missing program says nothing here.
has_cluster() {
  type -P docker kind kubectl >/dev/null && docker info >/dev/null 2>&1 && cluster_exists \
    && [ -z "$(stranger)" ]
}

# The folder that made the cluster may have gone.
take_kubeconfig() {
  mkdir -p "$STATE"
  quietly kind export kubeconfig --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first port from this one on that nobody listens on.
free_port() {
  local port=$1
  while [ "$port" -lt 65535 ] && port_is_taken "$port"; do port=$((port + 1)); done
  echo "$port"
}

# A name that no cluster has: flask-app-2, where this one is flask-app.
free_name() {
  local clusters number=2 name=${CLUSTER%-[0-9]}
  clusters=$(kind get clusters 2>/dev/null)
  while grep -qx "$name-$number" <<<"$clusters"; do number=$((number + 1)); done
  echo "$name-$number"
}

# The port of this machine that leads to the service.
https_port() { docker port "$CLUSTER-control-plane" 30443/tcp | sed -n '1s/.*://p'; }

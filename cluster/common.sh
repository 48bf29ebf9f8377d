# Sourced by the scripts of this folder. CLUSTER and HTTPS_PORT come from the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CLUSTER=${CLUSTER:-flask-app}
STATE=.local/cluster/$CLUSTER
# a kubeconfig of its own: the user's, and its current context, are never touched
export KUBECONFIG=$PWD/$STATE/kubeconfig
export HELM_KUBECONTEXT=kind-$CLUSTER

kubectl() { command kubectl --context "kind-$CLUSTER" "$@"; }

step() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

fail() { printf '%s\n' "$*" >&2; exit 1; }

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

# Whether there is one to be asked; a missing program says nothing here.
has_cluster() {
  type -P docker kind kubectl >/dev/null && docker info >/dev/null 2>&1 && cluster_exists
}

# Another folder may have made the cluster.
take_kubeconfig() {
  mkdir -p "$STATE"
  quietly kind export kubeconfig --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
}

# The port of this machine that leads to the service.
https_port() { docker port "$CLUSTER-control-plane" 30443/tcp | sed -n '1s/.*://p'; }

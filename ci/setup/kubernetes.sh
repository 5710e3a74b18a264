#!/usr/bin/env bash
# A real Kubernetes control plane for tests: etcd and kube-apiserver on loopback, kubectl and helm beside them.
#
#   kubernetes.sh build [COMMAND...]  build what is not in the cache yet (kube-apiserver, kubectl, helm, etcd: about
#                                     10 minutes, once); COMMAND: further ones of Kubernetes, such as kubelet
#   kubernetes.sh bin                 print the folder of the binaries; fails with one line when one is missing
#   kubernetes.sh start DIR           start a control plane with its state in DIR, print KUBECONFIG=...
#   kubernetes.sh stop DIR            end the processes that `start` started; DIR stays
#   kubernetes.sh run DIR             start, print the same, and stop at the end of standard input: whoever holds the
#                                     pipe and dies, in whatever way, leaves no process behind
#
# Needs no root, but for installing Debian's etcd-server when no etcd is there. Needs Go for `build`.
set -euo pipefail

KUBERNETES_VERSION=v1.34.0
HELM_VERSION=v4.3.1
COMMANDS=(kube-apiserver kubectl)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${GPU_CAPABLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-capable}/kubernetes/$KUBERNETES_VERSION
bin=$cache/bin

fail() {
    echo "kubernetes.sh: $1" >&2
    exit "${2:-1}"
}

build() {
    install_etcd
    mkdir -p "$bin"
    exec 9>"$cache/lock"
    flock 9
    local wanted=() command
    for command in "${COMMANDS[@]}" "$@"; do
        [ -x "$bin/$command" ] || wanted+=("$command")
    done
    [ "${#wanted[@]}" = 0 ] || build_kubernetes "${wanted[@]}"
    [ -x "$bin/helm-$HELM_VERSION" ] || build_helm
    ln -sf "helm-$HELM_VERSION" "$bin/helm"
    echo "$bin"
}

install_etcd() {
    command -v etcd >/dev/null && return
    [ "$(id -u)" = 0 ] || fail "etcd is missing; install it: sudo apt-get install etcd-server" 2
    apt-get update -q >&2
    # The package starts a service when it is installed, unless this says no: invoke-rc.d(8), POLICY.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends etcd-server >&2
}

need_go() {
    command -v go >/dev/null || fail "go is missing; install Go 1.24 or newer: https://go.dev/dl" 2
}

build_kubernetes() (
    need_go
    local work version_flags command
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    echo "kubernetes.sh: building $* $KUBERNETES_VERSION" >&2
    cd "$work"
    go mod init cluster 2>/dev/null
    go mod download -json "k8s.io/kubernetes@$KUBERNETES_VERSION" >download.json
    python3 -c 'import json; print(json.load(open("download.json"))["GoMod"])' >gomod
    go mod edit -json "$(cat gomod)" | python3 "$here/kubernetes/module.py" "$KUBERNETES_VERSION" >arguments
    xargs -d '\n' go mod edit <arguments
    version_flags="-X k8s.io/component-base/version.gitVersion=$KUBERNETES_VERSION"
    version_flags+=" -X k8s.io/component-base/version.gitMajor=1"
    version_flags+=" -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION")"
    for command in "$@"; do
        CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "-s -w $version_flags" \
            -o "$work/out/$command" "k8s.io/kubernetes/cmd/$command"
        mv "$work/out/$command" "$bin/$command"
    done
)

build_helm() (
    need_go
    echo "kubernetes.sh: building helm $HELM_VERSION" >&2
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    GOBIN=$work CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "helm.sh/helm/v4/cmd/helm@$HELM_VERSION"
    mv "$work/helm" "$bin/helm-$HELM_VERSION"
)

print_bin() {
    local command
    for command in "${COMMANDS[@]}" helm; do
        [ -x "$bin/$command" ] || fail "$command is not built yet; build it: ci/setup/kubernetes.sh build"
    done
    command -v etcd >/dev/null || fail "etcd is missing; install it: ci/setup/kubernetes.sh build"
    echo "$bin"
}

# Three TCP ports of loopback that nothing listens on now.
find_ports() {
    python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))'
}

# A key and a certificate signed by our CA: NAME SUBJECT [EXTENSION].
issue() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$1.crt" \
        -extfile <(printf '%s\n' "${3:-extendedKeyUsage=clientAuth}") 2>/dev/null
}

make_certificates() {
    openssl ecparam -name prime256v1 -genkey -noout -out ca.key
    openssl req -x509 -new -key ca.key -subj "/CN=gpu-capable test CA" -days 2 -out ca.crt
    issue apiserver "/CN=kube-apiserver" "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:10.96.0.1"
    # system:masters is bound to cluster-admin: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
    issue admin "/O=system:masters/CN=admin"
    openssl ecparam -name prime256v1 -genkey -noout -out service-account.key
}

# Start a process of our own session with its log and its id in the state folder: NAME ARGUMENT...
spawn() {
    setsid "${@:2}" </dev/null >"$1.log" 2>&1 &
    echo $! >"$1.pid"
    disown # or bash reports its end
}

start_once() {
    local client peer port
    read -r client peer port < <(find_ports)
    spawn etcd etcd --data-dir "$PWD/etcd" --unsafe-no-fsync --logger zap --log-outputs stderr \
        --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
        --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "default=http://127.0.0.1:$peer"
    spawn kube-apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$client" \
        --bind-address 127.0.0.1 --secure-port "$port" --endpoint-reconciler-type none \
        --tls-cert-file "$PWD/apiserver.crt" --tls-private-key-file "$PWD/apiserver.key" --client-ca-file "$PWD/ca.crt" \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$PWD/service-account.key" \
        --service-account-signing-key-file "$PWD/service-account.key" --service-cluster-ip-range 10.96.0.0/16 \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged
    write_kubeconfig "$port"
    local deadline=$((SECONDS + 60))
    until "$bin/kubectl" --kubeconfig kubeconfig --request-timeout 2s get --raw /readyz >/dev/null 2>&1; do
        is_running etcd && is_running kube-apiserver || return 1
        [ "$SECONDS" -lt "$deadline" ] || fail "kube-apiserver was not ready in 60 s; see $PWD/kube-apiserver.log"
        sleep 0.2
    done
}

write_kubeconfig() {
    cat >kubeconfig <<YAML
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$1", certificate-authority: "$PWD/ca.crt"}}]
users: [{name: admin, user: {client-certificate: "$PWD/admin.crt", client-key: "$PWD/admin.key"}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
YAML
}

# Whether the process whose id we noted is still ours: ids are used again, a command line with our folder is not.
is_running() {
    [ -s "$1.pid" ] && tr '\0' '\n' 2>/dev/null <"/proc/$(cat "$1.pid")/cmdline" | grep -qF "$PWD/"
}

start() {
    print_bin >/dev/null
    mkdir -p "$1"
    cd "$1"
    ! is_running kube-apiserver || fail "a control plane runs already in $PWD; end it: ci/setup/kubernetes.sh stop $PWD" 2
    umask 077
    make_certificates
    local attempt
    for attempt in 1 2 3; do # a port that was free may be taken a moment later
        if start_once; then
            echo "KUBECONFIG=$PWD/kubeconfig"
            return
        fi
        stop_processes
        rm -rf etcd
    done
    tail -n 5 etcd.log kube-apiserver.log >&2
    fail "the control plane did not start (tried $attempt times); see the logs in $PWD"
}

stop_processes() {
    local name deadline
    for name in kube-apiserver etcd; do
        is_running "$name" || continue
        # No state is worth keeping, so nothing is worth waiting for: kube-apiserver drains for a minute on SIGTERM.
        kill -KILL "$(cat "$name.pid")"
        deadline=$((SECONDS + 10))
        while is_running "$name" && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
    done
    rm -f kube-apiserver.pid etcd.pid
}

stop() {
    cd "$1" 2>/dev/null || fail "no such folder: $1" 2
    stop_processes
}

run() {
    mkdir -p "$1"
    trap 'stop_processes' EXIT
    start "$1"
    cat >/dev/null
}

usage() {
    fail "usage: kubernetes.sh build [COMMAND...] | bin | start DIR | stop DIR | run DIR" 2
}

case ${1:-} in
build) build "${@:2}" ;;
bin) print_bin ;;
start | stop | run) [ -n "${2:-}" ] || usage; "$1" "$2" ;;
*) usage ;;
esac

#!/bin/bash
# Renews the token in one remote secret: asks the watched API server for the next token of the same ServiceAccount, by
# the token there is, and writes it. No token and no password of a proxy is printed, written to a disk or put on a
# command line. Whatever goes wrong, the token there is stays until its end.
set -u -o pipefail
umask 077
export TZ=UTC

fail() {
  echo "The token for cluster $CLUSTER was not renewed: $*" >&2
  exit 1
}

# The proxy to the watched API server, as a line of curl's configuration.
through=''

# call TOKEN BODY ARGUMENTS...: a request; its HTTP status is in `status`, the answer in `answer`.
call() {
  local token=$1 body=$2 said
  shift 2
  local plain=(--silent --show-error --max-time 30 --user-agent mesh-link-renewal --header 'Accept: application/json' --write-out '\n%{http_code}')
  if [[ -n $body ]]; then
    said=$(curl "${plain[@]}" --config <(printf 'header = "Authorization: Bearer %s"\n%s\n' "$token" "$through") --data-binary @<(printf '%s' "$body") "$@") || return 1
  else
    said=$(curl "${plain[@]}" --config <(printf 'header = "Authorization: Bearer %s"\n%s\n' "$token" "$through") "$@") || return 1
  fi
  status=${said##*$'\n'}
  answer=${said%$'\n'*}
}

# The first string of this name in a JSON text.
text() {
  local pattern="\"$2\"[[:space:]]*:[[:space:]]*\"([^\"]*)\""
  [[ $1 =~ $pattern ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# The first number of this name.
number() {
  local pattern="\"$2\"[[:space:]]*:[[:space:]]*([0-9]+)"
  [[ $1 =~ $pattern ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# A line of the kubeconfig, as terraform-provider-mesh writes it.
line() {
  local pattern=$'\n'" *$1: \"([^\"]*)\""
  [[ $kubeconfig =~ $pattern ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# What a token says about itself.
claims() {
  local part=${1#*.}
  part=${part%%.*}
  part=${part//-/+}
  part=${part//_//}
  while ((${#part} % 4)); do part+='='; done
  printf '%s' "$part" | base64 -d 2>/dev/null
}

# The Secret that a token is bound to: deleting it revokes the token.
bound() {
  local pattern='"secret"[[:space:]]*:[[:space:]]*(\{[^}]*\})'
  [[ $1 =~ $pattern ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# The remote secret, as this Pod's own ServiceAccount reads it.
host=$KUBERNETES_SERVICE_HOST
[[ $host == *:* ]] && host="[$host]"
own="https://$host:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/$NAMESPACE/secrets/$SECRET"
account=$(<"$ACCOUNT/token") || fail "this Pod has no token of its ServiceAccount."
call "$account" '' --noproxy '*' --cacert "$ACCOUNT/ca.crt" "$own" || fail "the API server of this cluster does not answer."
[[ $status == 200 ]] || fail "Secret $NAMESPACE/$SECRET cannot be read (status $status)."
secret=$answer
version=$(text "$secret" resourceVersion) || fail "Secret $NAMESPACE/$SECRET has no resource version."
pattern='"data"[[:space:]]*:[[:space:]]*\{[^}]*"'${CLUSTER//./[.]}'"[[:space:]]*:[[:space:]]*"([A-Za-z0-9+/=]+)"'
[[ $secret =~ $pattern ]] || fail "Secret $NAMESPACE/$SECRET says nothing about the cluster."
kubeconfig=$(printf '%s' "${BASH_REMATCH[1]}" | base64 -d 2>/dev/null) || fail "the kubeconfig in Secret $NAMESPACE/$SECRET cannot be read."

# What it says about the watched API server and about the token.
server=$(line server) && token=$(line token) || fail "the kubeconfig in Secret $NAMESPACE/$SECRET has no server or no token."
old=$(claims "$token")
ends=$(number "$old" exp) && binding=$(bound "$old") || fail "the token in Secret $NAMESPACE/$SECRET has no end, or is bound to no Secret."
bound_name=$(text "$binding" name) && bound_uid=$(text "$binding" uid) || fail "the token in Secret $NAMESPACE/$SECRET does not say what it is bound to."

# curl asks for the name in the URL, and checks the certificate by it: another address than the name's is said beside
# it.
options=()
target=${server#https://}
target=${target%%/*}
path=${server#"https://$target"}
path=${path%/}
if name=$(line tls-server-name); then
  port=443
  after=${target##*]}
  [[ $after == *:* ]] && port=${after##*:}
  options+=(--connect-to "$name:$port:${target%":$port"}:$port")
  target=$name:$port
fi
if proxy=$(line proxy-url); then
  proxy=${proxy/#socks5:/socks5h:}
  through="proxy = \"${proxy//\\/\\\\}\""
fi
if authority=$(line certificate-authority-data); then
  printf '%s' "$authority" | base64 -d >"$WORK/ca.crt" || fail "the certificate authority in Secret $NAMESPACE/$SECRET cannot be read."
  options+=(--cacert "$WORK/ca.crt")
fi

# The next token, bound to the same Secret.
reference="{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"name\":\"$bound_name\",\"uid\":\"$bound_uid\"}"
request="{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenRequest\",\"spec\":{\"expirationSeconds\":$LIFETIME,\"boundObjectRef\":$reference}}"
url="https://$target$path/api/v1/namespaces/$NAMESPACE/serviceaccounts/$READER/token"
call "$token" "$request" --header 'Content-Type: application/json' ${options[@]+"${options[@]}"} "$url" || fail "the API server of the cluster does not answer at $server."
case $status in
201) ;;
401) fail "its API server refuses the token there is: it has ended or was revoked. An apply of Terraform makes another." ;;
403) fail "its API server does not let ServiceAccount $NAMESPACE/$READER ask for a token. An apply of Terraform gives it this right." ;;
*) fail "its API server answered with status $status." ;;
esac
next=$(text "$answer" token) || fail "the answer of its API server holds no token."
new=$(claims "$next")
[[ $(text "$new" sub) == "system:serviceaccount:$NAMESPACE:$READER" ]] || fail "the answer of its API server is the token of somebody else."
[[ $(bound "$new") == "$binding" ]] || fail "the answer of its API server is a token that is not bound as the one there is."
until=$(number "$new" exp) && since=$(number "$new" iat) || fail "the answer of its API server is a token without an end."
((until > ends)) || fail "its API server now grants tokens that end before the one there is. An apply of Terraform fits the schedule."

# Only over what was read: where somebody has written the Secret meanwhile, the next run reads it anew.
renewed=${kubeconfig/"$token"/"$next"}
data=$(printf '%s\n' "$renewed" | base64) && [[ $(printf '%s' "$data" | base64 -d 2>/dev/null) == "$renewed" ]] ||
  fail "the kubeconfig with the next token cannot be encoded."
data=${data//$'\n'/}
through=''
patch="{\"metadata\":{\"resourceVersion\":\"$version\"},\"data\":{\"$CLUSTER\":\"$data\"}}"
call "$account" "$patch" --request PATCH --header 'Content-Type: application/merge-patch+json' --noproxy '*' --cacert "$ACCOUNT/ca.crt" "$own?fieldManager=mesh-link-renewal" ||
  fail "the API server of this cluster does not answer."
case $status in
200) ;;
409) fail "Secret $NAMESPACE/$SECRET was changed meanwhile. The next run tries again." ;;
*) fail "Secret $NAMESPACE/$SECRET cannot be written (status $status)." ;;
esac
printf 'The token for cluster %s is renewed until %(%Y-%m-%dT%H:%M:%SZ)T.\n' "$CLUSTER" "$until"
((until - since >= 3 * EVERY)) || fail "it is, but its API server now grants $((until - since)) seconds, and this runs every $EVERY seconds. An apply of Terraform fits the schedule."

#!/usr/bin/env bash
# A client of the user-token interface as others have written it: curl, and jq
# to look at the answers. The first line that is not answered as documented ends
# it with 1.
#
#   client.sh URL ADMIN USER NAME REALM      ADMIN and USER are name:password
set -Eeuo pipefail
trap 'echo "client.sh: line $LINENO: $BASH_COMMAND" >&2' ERR
url=$1/api/v2/userTokens admin=$2 user=$3 name=$4 realm=$5
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# says STATUS CREDENTIAL METHOD PATH: asks, and checks the status.
says() {
	local want=$1 got
	got=$(curl -sS -u "$2" -X "$3" -o "$answer" -w '%{http_code}' "$url$4")
	[[ $got == "$want" ]] || {
		echo "client.sh: $3 $4: status $got, want $want: $(cat "$answer")" >&2
		return 1
	}
}
holds() { jq -e "$@" "$answer" >/dev/null; }

says 200 "$user" GET /currentUser/hasToken
holds '. == {"userTokenExists": false}'
says 404 "$user" GET /currentUser/createTime
says 404 "$user" DELETE /currentUser

says 200 "$user" POST /currentUser
holds --arg name "$name" --arg realm "$realm" '.username == $name and .realm == $realm and (.userCode | length > 0) and (.passCode | length > 0)
	and has("createTime") and has("lastAccessTime") and has("expirationDate")'
code=$(jq -r .userCode "$answer") pass=$(jq -r .passCode "$answer") made=$(jq -r .createTime "$answer")
says 409 "$user" POST /currentUser
says 200 "$user" GET /currentUser/hasToken
holds '. == {"userTokenExists": true}'
says 200 "$user" GET /currentUser/createTime
holds --arg made "$made" '. == $made'
# The token stands in for the password.
says 200 "$code:$pass" GET /currentUser/hasToken

says 403 "$user" GET "?realm=$realm"
today=$(date -u -d "$made" +%F) tomorrow=$(date -u -d "$made + 1 day" +%F)
says 200 "$admin" GET "?realm=$realm"
holds --arg code "$code" 'any(.[]; .userCode == $code) and all(.[]; has("passCode") | not)'
says 200 "$admin" GET "?realm=$realm&createdAfter=$today&createdBefore=$tomorrow"
holds --arg code "$code" 'any(.[]; .userCode == $code)'
says 200 "$admin" GET "?realm=$realm&createdBefore=$today"
holds --arg code "$code" 'all(.[]; .userCode != $code)'
says 200 "$admin" GET "?realm=nowhere"
holds '. == []'
says 200 "$admin" GET "/$name?realm=$realm"
holds --arg code "$code" '.userCode == $code'
says 404 "$admin" GET "/nobody?realm=$realm"

says 403 "$user" DELETE "/userCode/$code"
says 204 "$admin" DELETE "/userCode/$code"
says 404 "$admin" DELETE "/userCode/$code"
says 401 "$code:$pass" GET /currentUser/hasToken
says 200 "$user" POST /currentUser

says 403 "$user" DELETE /purge
says 204 "$admin" DELETE /purge
says 200 "$user" GET /currentUser/hasToken
holds '.userTokenExists'
says 204 "$user" DELETE /currentUser

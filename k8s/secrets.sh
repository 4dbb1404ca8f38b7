# Makes the Secrets that a city gives to a namespace: sh k8s/secrets.sh NAMESPACE
# Their content is in the folder `installation`, which whoever reads it can be anybody with. What is there is kept, so the same keys
# are given again; a file that you put there, a password at Cassandra for example, is taken as it is.
set -eu
namespace=${1:?say for which namespace: sh k8s/secrets.sh citybrain}
folder=${INSTALLATION:-installation}
PATH=".venv/bin:$PATH"
umask 077
mkdir -p "$folder/identity" "$folder/cassandra"
city token --data "$folder" > /dev/null
for key in token.key master.key; do
  [ -s "$folder/$key" ] || head -c 32 /dev/urandom > "$folder/$key"
done
for name in city keeper prepare; do
  [ -s "$folder/cassandra/$name" ] || head -c 32 /dev/urandom | base64 | tr -d '\n=+/' > "$folder/cassandra/$name"
done
give() {
  name=$1
  shift
  kubectl create secret generic "$name" --namespace "$namespace" "$@" --dry-run=client --output yaml | kubectl apply --server-side -f -
}
# Its labels come with the rest of the city.
kubectl get namespace "$namespace" > /dev/null 2>&1 || kubectl create namespace "$namespace"
give citybrain-identity --from-file="ring.json=$folder/identity/ring.json" --from-file="jwks.json=$folder/identity/jwks.json"
give citybrain-token-key --from-file="token.key=$folder/token.key"
give citybrain-master-key --from-file="master.key=$folder/master.key"
give citybrain-cassandra --from-file="city=$folder/cassandra/city" --from-file="keeper=$folder/cassandra/keeper" \
  --from-file="prepare=$folder/cassandra/prepare"

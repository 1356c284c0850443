// Asks an istiod, as a proxy would, for clusters, endpoints, listeners and names, and prints them as JSON.
//
//	xds --address 127.0.0.1:15010 --cluster-id west --network net-west --namespace demo
//
// What istiod answers depends on the proxy's metadata: its cluster, network, type and labels. The
// plain-text port takes the metadata at its word, so a proxy of any cluster can be imitated.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	_ "github.com/cncf/xds/go/udpa/type/v1" // what istiod packs Wasm and its own filters into
	_ "github.com/cncf/xds/go/xds/type/matcher/v3"
	_ "github.com/cncf/xds/go/xds/type/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
	_ "istio.io/istio/pkg/config/xds" // every Envoy type, so that any resource can be printed
	nds "istio.io/istio/pkg/dns/proto"
)

func main() {
	address := flag.String("address", "127.0.0.1:15010", "istiod's plain-text xDS port")
	clusterID := flag.String("cluster-id", "Kubernetes", "cluster of the proxy")
	network := flag.String("network", "", "network of the proxy")
	namespace := flag.String("namespace", "default", "namespace of the proxy")
	kind := flag.String("type", "sidecar", "sidecar, router or waypoint")
	ip := flag.String("ip", "10.255.255.254", "IP address of the proxy")
	account := flag.String("service-account", "default", "service account of the proxy")
	meshID := flag.String("mesh-id", "", "mesh of the proxy")
	labels := flag.String("labels", "", "labels of the proxy's pod: a=b,c=d")
	name := flag.String("pod", "judge", "name of the proxy's pod")
	timeout := flag.Duration("timeout", 20*time.Second, "time for the whole answer")
	flag.Parse()

	podLabels := map[string]any{}
	for _, pair := range strings.FieldsFunc(*labels, func(r rune) bool { return r == ',' }) {
		k, v, _ := strings.Cut(pair, "=")
		podLabels[k] = v
	}
	meta, err := structpb.NewStruct(map[string]any{
		"CLUSTER_ID": *clusterID, "NETWORK": *network, "NAMESPACE": *namespace, "NAME": *name,
		"SERVICE_ACCOUNT": *account, "LABELS": podLabels, "INSTANCE_IPS": *ip,
		"ISTIO_VERSION": "65536.65536.65536", "DNS_CAPTURE": "true", "MESH_ID": *meshID,
	})
	check(err)
	node := &core.Node{
		Id:       fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", *kind, *ip, *name, *namespace, *namespace),
		Metadata: meta,
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	answer, err := ask(ctx, *address, node)
	check(err)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	check(out.Encode(answer))
}

// ask returns the resources by kind and name.
func ask(ctx context.Context, address string, node *core.Node) (map[string]map[string]json.RawMessage, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<28)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	answer := map[string]map[string]json.RawMessage{}
	var edsNames []string
	for _, kind := range []struct{ name, url string }{
		{"clusters", v3.ClusterType}, {"endpoints", v3.EndpointType}, {"listeners", v3.ListenerType},
		{"names", v3.NameTableType},
	} {
		if kind.url == v3.NameTableType && !strings.HasPrefix(node.Id, "sidecar~") {
			continue // nobody captures DNS there, and istiod would leave the question unanswered
		}
		answer[kind.name] = map[string]json.RawMessage{}
		request := &discovery.DiscoveryRequest{Node: node, TypeUrl: kind.url}
		if kind.url == v3.EndpointType {
			if len(edsNames) == 0 {
				continue
			}
			request.ResourceNames = edsNames
		}
		if err := stream.Send(request); err != nil {
			return nil, err
		}
		response, err := stream.Recv()
		for err == nil && response.TypeUrl != kind.url { // a push of what was asked before
			response, err = stream.Recv()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.name, err)
		}
		// Said to be taken, as a proxy would.
		taken := &discovery.DiscoveryRequest{
			TypeUrl: kind.url, VersionInfo: response.VersionInfo, ResponseNonce: response.Nonce, ResourceNames: request.ResourceNames,
		}
		if err := stream.Send(taken); err != nil {
			return nil, err
		}
		for _, packed := range response.Resources {
			resource, err := packed.UnmarshalNew()
			if err != nil {
				return nil, err
			}
			if table, ok := resource.(*nds.NameTable); ok {
				for host, name := range table.Table {
					if answer[kind.name][host], err = json.Marshal(name.Ips); err != nil {
						return nil, err
					}
				}
				continue
			}
			text, err := protojson.MarshalOptions{Resolver: tolerant{protoregistry.GlobalTypes}}.Marshal(resource)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", kind.name, nameOf(resource), err)
			}
			answer[kind.name][nameOf(resource)] = text
			if c, ok := resource.(*cluster.Cluster); ok && c.GetType() == cluster.Cluster_EDS {
				edsNames = append(edsNames, c.Name)
			}
		}
	}
	return answer, nil
}

// tolerant prints what no package here knows as an empty message of that type: istiod configures filters of its
// proxy whose messages are in no Go module.
type tolerant struct{ *protoregistry.Types }

func (t tolerant) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if known, err := t.Types.FindMessageByURL(url); err == nil {
		return known, nil
	}
	return (&emptypb.Empty{}).ProtoReflect().Type(), nil
}

func nameOf(m proto.Message) string {
	switch r := m.(type) {
	case interface{ GetClusterName() string }: // an endpoint assignment
		return r.GetClusterName()
	case interface{ GetName() string }:
		return r.GetName()
	}
	return ""
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Package plugins holds what a gateway and a language runtime must agree on
// before the first message: the handshake, the protocol versions and the size
// limits. The messages themselves are in plugins/proto.
package plugins

import (
	"context"
	"errors"
	"strings"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
)

// Limits and names that both sides apply.
const (
	// ProtocolVersion is the newest version of the runtime contract, and the v1
	// of faas.runtime.v1.
	ProtocolVersion = 1
	// MaxPayload is the largest payload or result of one call, in bytes of JSON.
	MaxPayload = 6 << 20
	// MaxFrame is the largest gRPC message in either direction. The room above
	// MaxPayload is for headers, ids and what is batched beside one large call.
	MaxFrame = MaxPayload + 1<<20
	// MaxSecretKey and MaxSecret bound the key and the JSON value of a secret in
	// requests and replies, in bytes. What an account may keep is less.
	MaxSecretKey = 1 << 10
	MaxSecret    = 2 << 20
	// MaxRequestWeight is what the open requests of a process weigh together, each
	// its RequestWeight.
	MaxRequestWeight = 64
	// MaxCallRequests is how many requests one call may send.
	MaxCallRequests = 1000
	// RecordArea is the size of the record area, in bytes, and RecordAreaEnv the
	// variable that names its file descriptor.
	RecordArea    = 256 << 10
	RecordAreaEnv = "SLUICE_RECORD_AREA"
	// PluginName is the name under which go-plugin dispenses the contract.
	PluginName = "runtime"
)

// The sizes below are not part of the agreement; they keep one process from
// holding much of the host's memory, and are fixed so that neither side spends
// pings on estimating them.
const (
	streamWindow     = 1 << 20
	connectionWindow = 2 << 20
	maxHeaderList    = 64 << 10
)

// RequestWeight is what a request to the host weighs that carries so many bytes of
// value: one, and one more for each 64 KiB.
func RequestWeight(value int) int { return 1 + value>>16 }

// Handshake proves to a runtime that a gateway started it. The cookie is no
// secret: it turns a start by hand into a friendly message.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  ProtocolVersion,
	MagicCookieKey:   "SLUICE_RUNTIME",
	MagicCookieValue: "faas.runtime.v1",
}

// VersionedPlugins returns what a host or a runtime offers to go-plugin, by
// protocol version. A host passes nil, a runtime its service.
func VersionedPlugins(service runtimev1.RuntimeServiceServer) map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{
		ProtocolVersion: {PluginName: &Plugin{Service: service}},
	}
}

// DialOptions are the gRPC options of a host. They bound every message in both
// directions and refuse go-plugin's broker, which Sluice does not use and
// through which a runtime could make its host remember things without end.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxFrame),
			grpc.MaxCallSendMsgSize(MaxFrame),
		),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithMaxHeaderListSize(maxHeaderList),
		grpc.WithDisableServiceConfig(),
		grpc.WithStreamInterceptor(refuseBroker),
	}
}

// ServerOptions are the gRPC options of a runtime written in Go, the
// counterpart of DialOptions.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxFrame),
		grpc.MaxSendMsgSize(MaxFrame),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.MaxHeaderListSize(maxHeaderList),
	}
}

func refuseBroker(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if strings.HasPrefix(method, "/plugin.GRPCBroker/") {
		return nil, status.Error(codes.Unimplemented, "the broker is not used")
	}
	return streamer(ctx, desc, conn, method, opts...)
}

// Plugin registers the runtime contract with go-plugin, on either side.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
	// Service is what a runtime serves; nil on the host.
	Service runtimev1.RuntimeServiceServer
}

var _ plugin.GRPCPlugin = (*Plugin)(nil)

// GRPCServer registers the service on a runtime's server.
func (p *Plugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	if p.Service == nil {
		return errors.New("no runtime service to serve")
	}
	runtimev1.RegisterRuntimeServiceServer(server, p.Service)
	return nil
}

// GRPCClient returns the connection itself, so that the host may call with its
// own options; it is dispensed as a grpc.ClientConnInterface.
func (p *Plugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

package plugins_test

import (
	"context"
	"net"
	"testing"

	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
)

// sized answers Build with as many bytes as it was sent.
type sized struct {
	runtimev1.UnimplementedRuntimeServiceServer
	extra int
}

func (s sized) Build(_ context.Context, r *runtimev1.BuildRequest) (*runtimev1.BuildResponse, error) {
	return &runtimev1.BuildResponse{Artifact: make([]byte, len(r.GetSource())+s.extra)}, nil
}

// connect joins a host's and a runtime's options.
func connect(t *testing.T, service runtimev1.RuntimeServiceServer) *grpc.ClientConn {
	t.Helper()
	set := plugins.VersionedPlugins(service)[plugins.ProtocolVersion][plugins.PluginName].(plugin.GRPCPlugin)
	server := grpc.NewServer(plugins.ServerOptions()...)
	require.NoError(t, set.GRPCServer(nil, server))
	l := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	options := append(plugins.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	conn, err := grpc.NewClient("passthrough:", options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	dispensed, err := set.GRPCClient(context.Background(), nil, conn)
	require.NoError(t, err)
	require.Same(t, conn, dispensed)
	return conn
}

func TestMessagesUpToTheLimitPass(t *testing.T) {
	const room = 64 // for the message around the field
	for name, test := range map[string]struct {
		sent, extra int
		want        codes.Code
	}{
		"as large as a frame may be":  {plugins.MaxFrame - room, 0, codes.OK},
		"a request that is too large": {plugins.MaxFrame, 0, codes.ResourceExhausted},
		"an answer that is too large": {plugins.MaxFrame - room, 2 * room, codes.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			client := runtimev1.NewRuntimeServiceClient(connect(t, sized{extra: test.extra}))
			_, err := client.Build(context.Background(), &runtimev1.BuildRequest{Source: string(make([]byte, test.sent))})
			require.Equal(t, test.want, status.Code(err), err)
		})
	}
}

func TestTheBrokerIsRefusedBeforeAnythingIsSent(t *testing.T) {
	conn := connect(t, sized{})
	_, err := conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/plugin.GRPCBroker/StartStream")
	require.Equal(t, codes.Unimplemented, status.Code(err))
}

func TestARuntimeNeedsAService(t *testing.T) {
	require.Error(t, (&plugins.Plugin{}).GRPCServer(nil, grpc.NewServer()))
}

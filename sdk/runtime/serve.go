package runtime

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
)

// Limits bound what user code may produce. Serve enforces all but MemoryMiB.
type Limits struct {
	ResultBytes    int // largest result of one call
	LogRecordBytes int // largest log record, message plus extras
	LogRecords     int // records of one call
	MemoryMiB      int // of the process; the gateway watches it
}

// Function is a lambda version as a process gets it.
type Function struct {
	Artifact    []byte // what Build made
	Environment map[string]string
	Limits      Limits
}

// Loader reads user code, once in a process's life. An error made by LoadError is
// the author's fault and fails the deployment with its text; any other is the
// platform's.
type Loader func(ctx context.Context, fn Function) (Handler, error)

// LoadError marks err as a fault of user code.
func LoadError(err error) error { return &loadError{err} }

type loadError struct{ err error }

func (e *loadError) Error() string { return e.err.Error() }
func (e *loadError) Unwrap() error { return e.err }

// Dependency is a package that user code may import.
type Dependency struct {
	Name    string
	Version string
}

// Description is what a runtime says about itself.
type Description struct {
	DisplayName      string // language and version as users see it; default: the name
	Version          string // of the runtime program
	Dependencies     []Dependency
	SampleSource     string            // a handler that builds and runs
	TypeDeclarations map[string]string // for the editor, by file name
}

// Diagnostic is a remark on a source.
type Diagnostic struct {
	Warning bool   // else it is an error and there is no artifact
	Code    string // for programs
	Message string // for people; names the remedy
	Line    int    // from 1; 0 when it concerns the whole source
	Column  int    // from 1, in UTF-16 code units
}

// Builder turns a source into an artifact. It never runs user code. Faults of the
// source are diagnostics; an error is the platform's.
type Builder func(ctx context.Context, source string, dependencies []Dependency) (artifact []byte, remarks []Diagnostic, err error)

// Option changes what Serve offers.
type Option func(*service)

// WithDescription tells more than the name.
func WithDescription(d Description) Option {
	return func(s *service) { s.description = d }
}

// WithBuild checks and translates sources. Without it the artifact is the source.
func WithBuild(b Builder) Option {
	return func(s *service) { s.build = b }
}

// Serve is the main function of a runtime. It returns when the gateway has shut
// the process down; started by hand, it prints a friendly message and exits.
func Serve(name string, load Loader, options ...Option) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugins.Handshake,
		VersionedPlugins: plugins.VersionedPlugins(newService(name, load, options)),
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, plugins.ServerOptions()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
	})
}

// service is the runtime contract, served.
type service struct {
	runtimev1.UnimplementedRuntimeServiceServer
	name        string
	description Description
	load        Loader
	build       Builder
	loaded      chan struct{} // holds a token once loaded
	ready       chan *function
}

// function is a loaded Function.
type function struct {
	handler Handler
	limits  Limits
}

func newService(name string, load Loader, options []Option) *service {
	s := &service{name: name, load: load, loaded: make(chan struct{}, 1), ready: make(chan *function, 1)}
	for _, o := range options {
		o(s)
	}
	if s.description.DisplayName == "" {
		s.description.DisplayName = name
	}
	return s
}

// Describe answers with the Description.
func (s *service) Describe(context.Context, *runtimev1.DescribeRequest) (*runtimev1.DescribeResponse, error) {
	answer := &runtimev1.DescribeResponse{
		Name:             s.name,
		DisplayName:      s.description.DisplayName,
		Version:          s.description.Version,
		SampleSource:     s.description.SampleSource,
		TypeDeclarations: s.description.TypeDeclarations,
	}
	for _, d := range s.description.Dependencies {
		answer.Dependencies = append(answer.Dependencies, &runtimev1.Dependency{Name: d.Name, Version: d.Version})
	}
	return answer, nil
}

// Build calls the Builder.
func (s *service) Build(ctx context.Context, r *runtimev1.BuildRequest) (*runtimev1.BuildResponse, error) {
	if s.build == nil {
		return &runtimev1.BuildResponse{Artifact: []byte(r.GetSource())}, nil
	}
	var dependencies []Dependency
	for _, d := range r.GetDependencies() {
		dependencies = append(dependencies, Dependency{Name: d.GetName(), Version: d.GetVersion()})
	}
	artifact, remarks, err := s.build(ctx, r.GetSource(), dependencies)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	answer := &runtimev1.BuildResponse{Artifact: artifact}
	for _, d := range remarks {
		severity := runtimev1.Severity_SEVERITY_WARNING
		if !d.Warning {
			severity, answer.Artifact = runtimev1.Severity_SEVERITY_ERROR, nil
		}
		answer.Diagnostics = append(answer.Diagnostics, &runtimev1.Diagnostic{
			Severity: severity, Code: d.Code, Message: d.Message, Line: uint32(d.Line), Column: uint32(d.Column),
		})
	}
	return answer, nil
}

// Load calls the Loader, once.
func (s *service) Load(ctx context.Context, r *runtimev1.LoadRequest) (*runtimev1.LoadResponse, error) {
	select {
	case s.loaded <- struct{}{}:
	default:
		return nil, status.Error(codes.FailedPrecondition, "a process is loaded once")
	}
	limits := Limits{
		ResultBytes:    int(r.GetLimits().GetResultBytes()),
		LogRecordBytes: int(r.GetLimits().GetLogRecordBytes()),
		LogRecords:     int(r.GetLimits().GetLogRecords()),
		MemoryMiB:      int(r.GetLimits().GetMemoryMib()),
	}
	handler, err := s.load(ctx, Function{Artifact: r.GetArtifact(), Environment: r.GetEnvironment(), Limits: limits})
	var fault *loadError
	switch {
	case errors.As(err, &fault):
		return &runtimev1.LoadResponse{Failure: &runtimev1.LoadFailure{Message: fault.Error()}}, nil
	case err != nil:
		return nil, status.Error(codes.Internal, err.Error())
	}
	s.ready <- &function{handler: handler, limits: limits}
	return &runtimev1.LoadResponse{}, nil
}

// Session runs calls until the host drains or leaves.
func (s *service) Session(stream grpc.BidiStreamingServer[runtimev1.HostFrame, runtimev1.RuntimeFrame]) error {
	select {
	case fn := <-s.ready:
		return newSession(stream, fn).run()
	default:
		return status.Error(codes.FailedPrecondition, "a session is opened once, after Load")
	}
}

package host

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

const (
	defaultLogRecordBytes = 64 << 10
	defaultLogRecords     = 1000
)

// Build checks a source and turns it into an artifact. It runs no user code and
// may be called often, and at once, on a process that is never loaded. Faults of
// the source are diagnostics; an error is the platform's: the context's, an
// *ExitError if the process ended meanwhile, ErrUnavailable if it had before.
func (p *Process) Build(ctx context.Context, source string, deps []Dependency) (BuildResult, error) {
	select {
	case <-p.done:
		return BuildResult{}, ErrUnavailable
	default:
	}
	request := &runtimev1.BuildRequest{Source: source}
	for _, d := range deps {
		request.Dependencies = append(request.Dependencies, &runtimev1.Dependency{Name: d.Name, Version: d.Version})
	}
	answer, err := p.service.Build(ctx, request)
	ended := contextError(ctx, err)
	switch {
	case ended != nil:
		return BuildResult{}, fmt.Errorf("%s: build: %w", p.options.Runtime.Name, ended)
	case connectionLost(err):
		return BuildResult{}, &ExitError{Reason: p.awaitExit("build").reason}
	case err != nil:
		return BuildResult{}, fmt.Errorf("%s: build: %w", p.options.Runtime.Name, err)
	}
	result := BuildResult{Artifact: answer.GetArtifact()}
	for _, d := range answer.GetDiagnostics() {
		severity := SeverityError // what is unclear must not pass
		if d.GetSeverity() == runtimev1.Severity_SEVERITY_WARNING {
			severity = SeverityWarning
		}
		result.Diagnostics = append(result.Diagnostics, Diagnostic{
			Severity: severity, Code: d.GetCode(), Message: d.GetMessage(),
			Line: int(d.GetLine()), Column: int(d.GetColumn()),
		})
	}
	return result, nil
}

// Types asks for all type declarations, by file name: those of Description and those
// of the packages that user code may import. They may be several megabytes, and
// nothing here keeps them. Errors are like those of Build.
func (p *Process) Types(ctx context.Context) (map[string]string, error) {
	select {
	case <-p.done:
		return nil, ErrUnavailable
	default:
	}
	answer, err := p.service.Describe(ctx, &runtimev1.DescribeRequest{PackageTypes: true})
	ended := contextError(ctx, err)
	switch {
	case ended != nil:
		return nil, fmt.Errorf("%s: describe: %w", p.options.Runtime.Name, ended)
	case connectionLost(err):
		return nil, &ExitError{Reason: p.awaitExit("describe").reason}
	case err != nil:
		return nil, fmt.Errorf("%s: describe: %w", p.options.Runtime.Name, err)
	}
	return answer.GetTypeDeclarations(), nil
}

// Load gives the process its lambda version, once, and opens its session. Its
// error is a *LoadError if user code is at fault, an *ExitError if the process
// ended while it read it, else the context's or the platform's. After any error
// the process is killed.
func (p *Process) Load(ctx context.Context, r LoadRequest) error {
	if err := p.startLoading(); err != nil {
		return err
	}
	r.Limits = p.withDefaults(r.Limits)
	request := loadRequest(r)
	if proto.Size(request) > plugins.MaxFrame {
		p.end(verdict{reason: "was given too large an artifact", shared: true, planned: true})
		return ErrTooLarge
	}
	p.memory.setLimit(r.Limits.MemoryMiB)
	p.output.setRedact(r.Redact)
	p.egress.serve(r.Egress, r.Limits.Connections)
	answer, err := p.service.Load(ctx, request)
	if err != nil {
		return p.loadFailed(ctx, err)
	}
	if f := answer.GetFailure(); f != nil {
		p.end(verdict{reason: "user code could not be loaded", shared: true, planned: true})
		return &LoadError{Message: cut(f.GetMessage(), maxTextBytes), Stack: cut(f.GetStack(), maxTextBytes)}
	}
	return p.startSession(ctx, r.Limits, r.Secrets)
}

func (p *Process) startLoading() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.verdict != nil || p.draining:
		return ErrUnavailable
	case p.phase != blank:
		return errLoadedOnce
	}
	p.phase = loading
	return nil
}

func (p *Process) startSession(ctx context.Context, limits Limits, secrets runtime.Secrets) error {
	s, err := openSession(p, p.conn, limits, secrets)
	if err != nil {
		return p.loadFailed(ctx, err)
	}
	p.mu.Lock()
	p.phase = loaded
	p.session.Store(s)
	ending := p.verdict != nil || p.draining
	p.mu.Unlock()
	if ending { // Drain or Kill came meanwhile and saw no session
		s.refuse()
		p.end(verdict{reason: reasonKilled, shared: true, planned: true})
		return ErrUnavailable
	}
	return nil
}

// loadFailed ends the process and finds the error that says most.
func (p *Process) loadFailed(ctx context.Context, err error) error {
	if ended := contextError(ctx, err); ended != nil {
		p.end(verdict{reason: "had not loaded user code when nobody waited any more", shared: true})
		return fmt.Errorf("%s: load: %w", p.options.Runtime.Name, ended)
	}
	if connectionLost(err) {
		return &ExitError{Reason: p.awaitExit("load").reason, Own: true}
	}
	p.end(verdict{reason: "failed to load: " + err.Error(), shared: true})
	return fmt.Errorf("%s: load: %w", p.options.Runtime.Name, err)
}

func (p *Process) withDefaults(l Limits) Limits {
	fill := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	fill(&l.ResultBytes, plugins.MaxPayload)
	fill(&l.LogRecordBytes, defaultLogRecordBytes)
	fill(&l.LogRecords, defaultLogRecords)
	fill(&l.MemoryMiB, p.options.MemoryMiB)
	fill(&l.Connections, defaultConnections)
	l.ResultBytes = min(l.ResultBytes, plugins.MaxPayload)
	l.LogRecordBytes = min(l.LogRecordBytes, plugins.MaxPayload)
	return l
}

func loadRequest(r LoadRequest) *runtimev1.LoadRequest {
	return &runtimev1.LoadRequest{
		Artifact:    r.Artifact,
		Environment: r.Environment,
		Limits: &runtimev1.Limits{
			ResultBytes:    uint32(r.Limits.ResultBytes),
			LogRecordBytes: uint32(r.Limits.LogRecordBytes),
			LogRecords:     uint32(r.Limits.LogRecords),
			MemoryMib:      uint32(r.Limits.MemoryMiB),
		},
	}
}

func descriptionOf(d *runtimev1.DescribeResponse) Description {
	out := Description{
		Name: d.GetName(), DisplayName: d.GetDisplayName(), Version: d.GetVersion(),
		SampleSource: d.GetSampleSource(), TypeDeclarations: d.GetTypeDeclarations(),
	}
	for _, dep := range d.GetDependencies() {
		out.Dependencies = append(out.Dependencies, Dependency{Name: dep.GetName(), Version: dep.GetVersion()})
	}
	return out
}

// contextError returns the context's error if that is why the request failed, else
// nil. gRPC enforces a deadline on both sides, so its error may come a moment
// before the context's.
func contextError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case status.Code(err) != codes.DeadlineExceeded:
		return nil
	}
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) > time.Second {
		return nil // the runtime says so for a reason of its own
	}
	return context.DeadlineExceeded
}

// connectionLost reports whether a request that its own context did not end found
// the connection broken, or closed because the end of the process was noticed a
// moment before: gRPC calls that canceled.
func connectionLost(err error) bool {
	return status.Code(err) == codes.Unavailable || status.Code(err) == codes.Canceled
}

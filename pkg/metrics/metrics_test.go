package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func used() *Server {
	s := New("v1.2.3")
	s.Request("/verify", "GET", 200, 40*time.Microsecond)
	s.Request("/verify", "GET", 200, time.Minute)
	s.Request("POST /oauth2/token", "POST", 400, time.Millisecond)
	s.Verdict("accepted")
	s.Verdict("refused")
	s.Verdict("cannot_tell")
	s.Connection("main", true)
	s.Connection("main", true)
	s.Connection("main", false)
	s.CertificateExpires(time.Unix(1_800_000_000, 0))
	return s
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(used().registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// What is counted arrives, as does what is known of the runtime.
func TestHandler(t *testing.T) {
	server := httptest.NewServer(used().Handler())
	defer server.Close()
	text := get(t, server.URL)
	for _, want := range []string{
		`tokenctl_http_requests_total{code="200",method="GET",route="/verify"} 2`,
		`tokenctl_http_requests_total{code="400",method="POST",route="POST /oauth2/token"} 1`,
		`tokenctl_http_request_duration_seconds_bucket{route="/verify",le="5e-05"} 1`,
		`tokenctl_http_request_duration_seconds_count{route="/verify"} 2`,
		`tokenctl_verdicts_total{outcome="accepted"} 1`,
		`tokenctl_verdicts_total{outcome="refused"} 1`,
		`tokenctl_verdicts_total{outcome="cannot_tell"} 1`,
		`tokenctl_verdicts_total{outcome="other"} 0`,
		`tokenctl_http_connections{listener="main"} 1`,
		`tokenctl_tls_certificate_expiry_timestamp_seconds 1.8e+09`,
		`tokenctl_build_info{version="v1.2.3"} 1`,
		"\ngo_memstats_heap_alloc_bytes ",
		"\ngo_gc_heap_live_bytes ",
		"\ngo_gc_cycles_total_gc_cycles_total ",
		"\ngo_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// Whatever comes in, the number of series is bounded.
func TestBounded(t *testing.T) {
	s := New("")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for k := range 1000 {
				s.Request(fmt.Sprintf("/%d/%d", i, k), fmt.Sprintf("METHOD%d", k), k, 0)
				s.Verdict(fmt.Sprint("outcome", k))
			}
		})
	}
	group.Wait()
	for name, most := range map[string]int{
		"tokenctl_http_request_duration_seconds": maxRoutes + 1,
		"tokenctl_http_requests_total":           maxRoutes*8 + 501,
		"tokenctl_verdicts_total":                4,
	} {
		if n, err := testutil.GatherAndCount(s.registry, name); err != nil || n > most || n == 0 {
			t.Errorf("%s has %d series, %v", name, n, err)
		}
	}
	text := scrape(t, s)
	for _, want := range []string{`tokenctl_verdicts_total{outcome="other"} 8000`, `method="other",route="other"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(text, "METHOD") || strings.Contains(text, `code="7"`) {
		t.Error("a method or a code that nobody knows is a label")
	}
}

func scrape(t *testing.T, s *Server) string {
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	return get(t, server.URL)
}

func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", answer.Status, err)
	}
	return string(text)
}

func BenchmarkRequest(b *testing.B) {
	s := New("")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Request("/verify", "GET", 200, 40*time.Microsecond)
			s.Verdict("accepted")
		}
	})
}

//go:build linux

package cmd_test

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// The units that we ship are understood, and give serve little to do harm with.
func TestServeUnits(t *testing.T) {
	t.Parallel()
	analyze := needs.Program(t, "systemd-analyze")
	dir := t.TempDir()
	units := []string{filepath.Join(dir, "tokenctl.service"), filepath.Join(dir, "tokenctl.socket")}
	put(t, units[0], []byte(packaged(t, "tokenctl.service", map[string]string{"/usr/bin/tokenctl": binary(t)})))
	put(t, units[1], []byte(packaged(t, "tokenctl.socket", nil)))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, analyze, append([]string{"verify", "--man=no"}, units...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(ctx, analyze, "security", "--offline=yes", "--no-pager", units[0]).CombinedOutput()
	found := regexp.MustCompile(`Overall exposure level for tokenctl.service: ([\d.]+)`).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	if exposure, _ := strconv.ParseFloat(string(found[1]), 64); exposure > 1.5 {
		t.Errorf("the exposure is %s:\n%s", found[1], out)
	}

	// What serve relies on.
	unit := packaged(t, "tokenctl.service", nil)
	for _, line := range []string{
		"Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "User=tokenctl", "StateDirectory=tokenctl", "StateDirectoryMode=0700",
		"Environment=XDG_DATA_HOME=/var/lib XDG_CONFIG_HOME=/etc", "LimitCORE=0",
	} {
		if !slices.Contains(strings.Split(unit, "\n"), line) {
			t.Errorf("tokenctl.service does not say %s", line)
		}
	}
	if strings.Contains(unit, "\nPrivateUsers=") {
		t.Error("with PrivateUsers= every peer of the local socket is nobody")
	}
}

// The unit makes the user that it runs as.
func TestServeSysusers(t *testing.T) {
	t.Parallel()
	sysusers := needs.Program(t, "systemd-sysusers")
	root := t.TempDir()
	put(t, filepath.Join(root, "etc", "passwd"), nil)
	put(t, filepath.Join(root, "etc", "group"), nil)
	put(t, filepath.Join(root, "usr", "lib", "sysusers.d", "tokenctl.conf"), []byte(packaged(t, "tokenctl.sysusers", nil)))
	if out, err := exec.Command(sysusers, "--root="+root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := exec.Command("cat", filepath.Join(root, "etc", "passwd")).Output()
	if err != nil || !regexp.MustCompile(`^tokenctl:[x!]:\d+:\d+:tokenctl serve:/var/lib/tokenctl:/\S*nologin\n`).Match(text) {
		t.Errorf("the password file is %q, %v", text, err)
	}
}

// Sockets of systemd are taken over: the main one, and one called metrics.
func TestServeSocketActivation(t *testing.T) {
	t.Parallel()
	activate := needs.Program(t, "systemd-socket-activate")
	m, seed := seeded(t)
	mainAt, metricsAt := freeAddress(t), freeAddress(t)
	m.wrap = []string{activate, "-l", mainAt, "-l", metricsAt, "--fdname=main:metrics", "-E", "HOME", "-E", "PATH"}
	s := m.start(func(*exec.Cmd) {}, "--listen", "192.0.2.1:1") // which is not asked for
	m.wrap = nil
	// The first connection starts it, and is answered.
	var status int
	eventually(t, "it listens", func() bool {
		r, err := http.NewRequest("GET", "http://"+mainAt+"/verify", nil)
		if err != nil {
			t.Fatal(err)
		}
		authorize(r, seed.pair)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		resp.Body.Close()
		status = resp.StatusCode
		return true
	})
	if status != 200 {
		t.Errorf("status %d", status)
	}
	if _, _, text := ask(t, http.DefaultClient, "GET", "http://"+metricsAt+"/metrics", ""); !strings.Contains(text, `tokenctl_verdicts_total{outcome="accepted"} 1`) {
		t.Errorf("metrics are\n%s", text)
	}
	m.must("", "list")
	s.process.Signal(syscall.SIGTERM)
	eventually(t, "serve ends", s.ended)
	if code := s.state.ExitCode(); code != 0 {
		t.Errorf("exit %d:\n%s", code, s.log)
	}

	// A socket of the network is not plain without a word.
	at := "0.0.0.0:" + strings.TrimPrefix(freeAddress(t), "127.0.0.1:")
	m.wrap = []string{activate, "-l", at, "-E", "HOME", "-E", "PATH"}
	s = m.start(func(*exec.Cmd) {})
	eventually(t, "it ends", func() bool {
		http.Get("http://127.0.0.1:" + strings.TrimPrefix(at, "0.0.0.0:"))
		return s.ended()
	})
	if code := s.state.ExitCode(); code != 2 || !strings.Contains(s.log.String(), "without TLS") {
		t.Errorf("exit %d:\n%s", code, s.log)
	}
}

// 300 connections that drip their requests take nothing from a client that
// behaves.
func TestServeSlowClients(t *testing.T) {
	t.Parallel()
	slow := needs.Program(t, "slowhttptest")
	for mode, path := range map[string]string{"-H": "/verify", "-B": "/oauth2/revoke"} { // slow headers, slow bodies
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			m, seed := seeded(t)
			s := m.serve("--metrics-listen", "127.0.0.1:0")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			attack := exec.CommandContext(ctx, slow, mode, "-c", "300", "-r", "300", "-i", "1", "-l", "4", "-p", "3", "-x", "10", "-s", "4096", "-f", "application/x-www-form-urlencoded", "-u", "http://"+s.main+path)
			attack.Dir = t.TempDir()
			output := &logbook{}
			attack.Stdout, attack.Stderr = output, output
			if err := attack.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- attack.Wait() }()
			most := 0
			count := func() int {
				_, _, text := ask(t, http.DefaultClient, "GET", "http://"+s.metrics+"/metrics", "")
				_, rest, _ := strings.Cut(text, `tokenctl_http_connections{listener="main"} `)
				n, _, _ := strings.Cut(rest, "\n")
				open, _ := strconv.Atoi(n)
				most = max(most, open)
				return open
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			for under := true; under; {
				if status, _, _ := ask(t, client, "GET", "http://"+s.main+"/verify", seed.pair); status != 200 {
					t.Errorf("the good client got %d", status)
				}
				count()
				select {
				case err := <-ended:
					if err != nil {
						t.Errorf("slowhttptest: %v\n%s", err, output)
					}
					under = false
				case <-time.After(20 * time.Millisecond):
				}
			}
			if most < 200 {
				t.Errorf("there were %d connections at the most\n%s", most, output)
			}
			eventually(t, "all slow ones are gone", func() bool { return count() == 0 })
			s.stop()
		})
	}
}

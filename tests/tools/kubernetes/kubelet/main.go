// The part of a kubelet that API servers call: port-forward, exec and logs, for pods whose processes
// the lab runs. Kubernetes' own code speaks the streaming protocols; the lab says where a port is.
//
//	kubelet --cert f --key f --serve 127.0.0.1:R1 --serve ...   (one a cluster)
//
// It listens on a free port of loopback for each, and prints "serving P1 P2 ..." once it does. For each stream it sends
// R "forward NAMESPACE POD PORT\n" and, after the answer "ok\n", joins the stream to that connection; for logs "logs
// NAMESPACE POD\n", where the text follows; for exec "program NAMESPACE POD\n", where the path of the pod's one program
// follows.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

func main() {
	cert, key := flag.String("cert", "", "certificate"), flag.String("key", "", "private key")
	var serve []string
	flag.Func("serve", "resolver address", func(s string) error {
		serve = append(serve, s)
		return nil
	})
	flag.Parse()
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	failed := make(chan error)
	serving := "serving"
	for _, resolver := range serve {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			log.Fatal(err)
		}
		serving += fmt.Sprint(" ", listener.Addr().(*net.TCPAddr).Port)
		go func() { failed <- http.Serve(listener, handler(pods{resolver})) }()
	}
	fmt.Println(serving)
	log.Fatal(<-failed)
}

func handler(p pods) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		name := r.PathValue("namespace") + " " + r.PathValue("pod")
		portforward.ServePortForward(w, r, p, name, "", options,
			4*time.Hour, 30*time.Second, portforward.SupportedProtocols)
	})
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		name := r.PathValue("namespace") + " " + r.PathValue("pod")
		remotecommand.ServeExec(w, r, p, name, "", r.PathValue("container"), r.URL.Query()["command"], options,
			4*time.Hour, 30*time.Second, remotecommand.SupportedStreamingProtocols)
	})
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		conn, reader, err := p.ask("logs " + r.PathValue("namespace") + " " + r.PathValue("pod"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer conn.Close()
		_, _ = io.Copy(w, reader)
	})
	return mux
}

// pods reaches the lab's processes.
type pods struct{ resolver string }

func (p pods) PortForward(_ context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, reader, err := p.ask(fmt.Sprintf("forward %s %d", name, port))
	if err != nil {
		return err
	}
	defer conn.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(stream, reader)
		_ = stream.Close()
		close(done)
	}()
	_, _ = io.Copy(conn, stream)
	_ = conn.(*net.TCPConn).CloseWrite()
	<-done
	return nil
}

// The port that istiod's own command dials in its pod, where it cannot be told another.
const monitoring = 15014

var commands sync.Mutex

// ExecInContainer runs the pod's own program, the one file that its container has, with other arguments.
// Loopback of the machine is that of the pod meanwhile, as far as the monitoring port goes.
func (p pods) ExecInContainer(ctx context.Context, name, _, _ string, command []string, _ io.Reader,
	stdout, stderr io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	conn, reader, err := p.ask("program " + name)
	if err != nil {
		return err
	}
	defer conn.Close()
	program, err := io.ReadAll(reader)
	if err != nil {
		return err
	}
	if len(command) == 0 || command[0] != filepath.Base(string(program)) {
		return fmt.Errorf("exec: %q: executable file not found in $PATH", command)
	}
	commands.Lock()
	defer commands.Unlock()
	listener, err := monitoringPort(ctx)
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() {
		for {
			inner, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = p.PortForward(ctx, name, "", monitoring, inner) }()
		}
	}()
	run := exec.New().CommandContext(ctx, string(program), command[1:]...)
	run.SetStdout(stdout)
	run.SetStderr(stderr)
	return run.Run()
}

// Other labs of the machine take it for moments too.
func monitoringPort(ctx context.Context) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", monitoring))
		if err == nil {
			return listener, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p pods) ask(question string) (net.Conn, io.Reader, error) {
	conn, err := net.Dial("tcp", p.resolver)
	if err != nil {
		return nil, nil, err
	}
	if _, err = fmt.Fprintln(conn, question); err == nil {
		reader := bufio.NewReader(conn)
		var answer string
		if answer, err = reader.ReadString('\n'); err == nil && answer == "ok\n" {
			return conn, reader, nil
		} else if err == nil {
			err = fmt.Errorf("%s", strings.TrimSpace(answer))
		}
	}
	conn.Close()
	return nil, nil, err
}

// Holds the network of a lab's pods: one network namespace a pod, and one with the bridge that joins them.
//
//	unshare -U --map-user=1337 --keep-caps -n -m --pid --fork namespaces serve SOCKET
//
// It does what has to happen inside a namespace and nothing else: makes and removes them, starts a program in one, and
// opens sockets, which it hands over. A socket stays where it was made, so the lab uses them as any other.
//
// One connection is one order: a line of JSON each way, the answer with the socket if there is one.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		log.Fatal(serve(os.Args[2]))
	case len(os.Args) > 3 && os.Args[1] == "exec":
		log.Fatal(become(os.Args[2], os.Args[3:]))
	}
	log.Fatal("usage: namespaces serve SOCKET")
}

// An order; which fields count depends on the first.
type order struct {
	Do      string   `json:"do"`      // pod, remove, address, listen, connect, start, signal
	Pod     string   `json:"pod"`     // by name; none is the bridge's own namespace
	Address string   `json:"address"` // with a port where a socket is asked for
	From    string   `json:"from"`    // the address to connect from, where it matters
	Routes  []string `json:"routes"`  // what the pod can reach
	Gone    bool     `json:"gone"`    // the address leaves
	Millis  int      `json:"millis"`  // how long a connection may take
	Dir     string   `json:"dir"`
	Hosts   string   `json:"hosts"` // stands in for /etc/hosts
	Log     string   `json:"log"`
	Env     []string `json:"env"`
	Args    []string `json:"args"`
	PID     int      `json:"pid"`
	Signal  int      `json:"signal"`
}

type answer struct {
	Error string `json:"error,omitempty"`
	PID   int    `json:"pid,omitempty"`
}

type fabric struct {
	mu      sync.Mutex
	own     netns.NsHandle
	pods    map[string]pod
	counter int
}

type pod struct {
	ns   netns.NsHandle
	link string
}

func serve(socket string) error {
	f := &fabric{pods: map[string]pod{}}
	if err := f.prepare(); err != nil {
		return fmt.Errorf("could not make the bridge: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		return err
	}
	for {
		connection, err := listener.AcceptUnix()
		if err != nil {
			return err
		}
		go f.answer(connection)
	}
}

func (f *fabric) prepare() error {
	var err error
	if f.own, err = current(); err != nil {
		return err
	}
	if err := up("lo"); err != nil {
		return err
	}
	// Without a hardware address of its own a bridge takes the lowest of its ports', so that it changes as pods come and
	// go: what pods then send to addresses of the bridge (load balancers, istiods) goes to the old one, until they ask
	// again.
	attributes := netlink.LinkAttrs{Name: "br0", HardwareAddr: net.HardwareAddr{0x02, 0, 0, 0, 0, 1}}
	bridge := &netlink.Bridge{LinkAttrs: attributes}
	if err := netlink.LinkAdd(bridge); err != nil {
		return err
	}
	if err := up("br0"); err != nil {
		return err
	}
	return route("br0", "10.0.0.0/8", "")
}

// The network namespace of this thread. By no number: /proc still counts processes as outside.
func current() (netns.NsHandle, error) {
	return netns.GetFromPath("/proc/thread-self/ns/net")
}

func (f *fabric) answer(connection *net.UnixConn) {
	defer connection.Close()
	line, err := bufio.NewReader(connection).ReadBytes('\n')
	if err != nil {
		return
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		say(connection, answer{Error: err.Error()}, -1)
		return
	}
	if o.Do == "start" {
		f.start(connection, o)
		return
	}
	fd, err := f.obey(o)
	said := answer{}
	if err != nil {
		said.Error = err.Error()
	}
	say(connection, said, fd)
	if fd >= 0 {
		syscall.Close(fd)
	}
}

func say(connection *net.UnixConn, what answer, fd int) {
	line, _ := json.Marshal(what)
	var rights []byte
	if fd >= 0 {
		rights = syscall.UnixRights(fd)
	}
	connection.WriteMsgUnix(append(line, '\n'), rights, nil)
}

func (f *fabric) obey(o order) (int, error) {
	switch o.Do {
	case "pod":
		return -1, f.add(o)
	case "remove":
		return -1, f.remove(o.Pod)
	case "address":
		return -1, f.within("", func() error { return address("br0", o.Address, o.Gone) })
	case "listen", "connect":
		fd := -1
		err := f.within(o.Pod, func() (err error) {
			fd, err = open(o)
			return err
		})
		return fd, err
	case "signal":
		return -1, syscall.Kill(o.PID, syscall.Signal(o.Signal))
	}
	return -1, fmt.Errorf("no order is called %q", o.Do)
}

// Does something in a pod's namespace, on a thread that ends with it.
func (f *fabric) within(name string, what func() error) error {
	f.mu.Lock()
	ns := f.own
	if name != "" {
		found, ok := f.pods[name]
		if !ok {
			f.mu.Unlock()
			return fmt.Errorf("no pod is called %s", name)
		}
		ns = found.ns
	}
	f.mu.Unlock()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- what()
	}()
	return <-done
}

func (f *fabric) add(o order) error {
	f.mu.Lock()
	f.counter++
	link := fmt.Sprintf("pod%d", f.counter)
	f.mu.Unlock()
	made := make(chan error)
	var ns netns.NsHandle
	go func() {
		runtime.LockOSThread()
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		if err == nil {
			ns, err = current()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return err
	}
	f.mu.Lock()
	if _, there := f.pods[o.Pod]; there {
		f.mu.Unlock()
		ns.Close()
		return fmt.Errorf("there is a pod called %s", o.Pod)
	}
	f.pods[o.Pod] = pod{ns, link}
	f.mu.Unlock()
	err := f.within("", func() error {
		bridge, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		attributes := netlink.LinkAttrs{Name: link, MasterIndex: bridge.Attrs().Index}
		veth := &netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return up(link)
	})
	if err == nil {
		err = f.within(o.Pod, func() error {
			if err := errors.Join(up("lo"), address("eth0", o.Address, false), up("eth0")); err != nil {
				return err
			}
			for _, to := range o.Routes {
				if err := route("eth0", to, o.Address); err != nil {
					return fmt.Errorf("route to %s: %w", to, err)
				}
			}
			return nil
		})
	}
	if err != nil {
		f.remove(o.Pod)
	}
	return err
}

func (f *fabric) remove(name string) error {
	f.mu.Lock()
	gone, ok := f.pods[name]
	delete(f.pods, name)
	f.mu.Unlock()
	if !ok {
		return nil
	}
	defer gone.ns.Close()
	return f.within("", func() error {
		link, err := netlink.LinkByName(gone.link)
		if err != nil {
			return nil
		}
		return netlink.LinkDel(link)
	})
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func address(link, ip string, gone bool) error {
	found, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	parsed, err := netlink.ParseAddr(ip + "/32")
	if err != nil {
		return err
	}
	if gone {
		return netlink.AddrDel(found, parsed)
	}
	return netlink.AddrReplace(found, parsed)
}

func route(link, to, from string) error {
	found, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	_, destination, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: found.Attrs().Index, Dst: destination, Src: net.ParseIP(from), Scope: netlink.SCOPE_LINK,
	})
}

// A socket, made with system calls that stay on this thread.
func open(o order) (int, error) {
	at, err := net.ResolveTCPAddr("tcp4", o.Address)
	if err != nil {
		return -1, err
	}
	to := &syscall.SockaddrInet4{Port: at.Port}
	copy(to.Addr[:], at.IP.To4())
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if o.Do == "listen" {
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		if err = syscall.Bind(fd, to); err == nil {
			err = syscall.Listen(fd, 1024)
		}
	} else {
		if from := net.ParseIP(o.From).To4(); from != nil {
			own := &syscall.SockaddrInet4{}
			copy(own.Addr[:], from)
			if err := syscall.Bind(fd, own); err != nil {
				syscall.Close(fd)
				return -1, err
			}
		}
		limit := syscall.NsecToTimeval((time.Duration(o.Millis) * time.Millisecond).Nanoseconds())
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit)
		err = connect(fd, to)
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &syscall.Timeval{})
	}
	if err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Go's runtime sends signals to its threads, which a connect that waits may feel.
func connect(fd int, to syscall.Sockaddr) error {
	for {
		err := syscall.Connect(fd, to)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EALREADY):
			time.Sleep(time.Millisecond)
			continue
		case errors.Is(err, syscall.EISCONN):
			return nil
		case errors.Is(err, syscall.EINPROGRESS), errors.Is(err, syscall.EAGAIN):
			return syscall.ETIMEDOUT
		}
		return err
	}
}

// Starts a program in a pod. The connection stays until it ends, and is told how.
func (f *fabric) start(connection *net.UnixConn, o order) {
	output, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		say(connection, answer{Error: err.Error()}, -1)
		return
	}
	defer output.Close()
	command := exec.Command("/proc/self/exe", append([]string{"exec", o.Hosts}, o.Args...)...)
	command.Dir, command.Env, command.Stdout, command.Stderr = o.Dir, o.Env, output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	if err := f.within(o.Pod, command.Start); err != nil {
		say(connection, answer{Error: err.Error()}, -1)
		return
	}
	say(connection, answer{PID: command.Process.Pid}, -1)
	ended := "it ended"
	if err := command.Wait(); err != nil {
		ended = err.Error()
	}
	syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // what it started goes with it
	say(connection, answer{Error: ended}, -1)
}

// The rest of a start, in a mount namespace of its own.
func become(hosts string, args []string) error {
	if err := syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("could not put %s in the place of /etc/hosts: %w", hosts, err)
	}
	if !strings.Contains(args[0], "/") {
		return fmt.Errorf("%s is no path", args[0])
	}
	return syscall.Exec(args[0], args, os.Environ())
}

package host_test

func serveHostile() {}
func beGateway()    {}

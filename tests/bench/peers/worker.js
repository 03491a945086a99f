// The same function on workerd.
import lambda from 'hello'

export default {
  async fetch(request) {
    const input = await request.json()
    return new Promise((resolve) => {
      lambda(input, (error, result) => {
        resolve(error ? Response.json({ error: error.message }, { status: 500 }) : Response.json(result))
      })
    })
  },
}
